/** How the client is sure of its node, and the node of its client. */
import { readFileSync } from "node:fs";

import { credentials, Metadata, type ChannelCredentials } from "@grpc/grpc-js";

/** Names of files, which are read again for each connection. None of them is plain text without proof. */
export interface Security {
  /** Authorities that may vouch for the node, as PEM; connections are by TLS where it is set. */
  caFile?: string;
  /** The client's own certificate, as PEM. */
  certFile?: string;
  /** Its key. */
  keyFile?: string;
  /** An access token, which goes with each stream; by plain text to this machine only. */
  tokenFile?: string;
}

/** Reads the variables that all clients of Tallygate have. */
export function securityFromEnvironment(): Security {
  const { TALLYGATE_CA, TALLYGATE_CERT, TALLYGATE_KEY, TALLYGATE_TOKEN_FILE } = process.env;
  return { caFile: TALLYGATE_CA, certFile: TALLYGATE_CERT, keyFile: TALLYGATE_KEY, tokenFile: TALLYGATE_TOKEN_FILE };
}

/** What a connection is made with. */
export function channelCredentials({ caFile, certFile, keyFile }: Security): ChannelCredentials {
  if (!caFile) return credentials.createInsecure();
  if (!certFile || !keyFile) return credentials.createSsl(readFileSync(caFile));
  return credentials.createSsl(readFileSync(caFile), readFileSync(keyFile), readFileSync(certFile));
}

/** What goes with a call to this address. */
export function callMetadata({ caFile, tokenFile }: Security, address: string): Metadata {
  const metadata = new Metadata();
  if (!tokenFile) return metadata;
  if (!caFile && !/^(localhost|127(\.\d+){3}|\[::1\]):\d+$/.test(address)) {
    throw new Error("a token is sent by plain text to this machine only: set TALLYGATE_CA");
  }
  metadata.set("authorization", `Bearer ${readFileSync(tokenFile, "utf8").trim()}`);
  return metadata;
}
