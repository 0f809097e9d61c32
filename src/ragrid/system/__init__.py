"""Raw input and output: processes, atomic files, clock, ports, certificates."""
