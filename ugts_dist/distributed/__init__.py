"""The processes of a run: ranks and collectives, devices, rendezvous, failed ranks, stopping, launchers, Ray."""
