"""Others that decide by gRPC, asked beside this software where their programs are named by the environment.

`dialects` has what is said to them, `programs` how they are started, `load` asks. Nothing of theirs is here.
"""
