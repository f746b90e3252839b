"""The processes of a run: ranks and their collectives, devices, rendezvous, who failed, when to stop, Ray."""
