"""The device in Amaranth: one room of the datapath per file."""
