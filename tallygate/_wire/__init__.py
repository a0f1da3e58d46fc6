"""How the wire writes times, enums and names: for the client, the services and the command alike."""
