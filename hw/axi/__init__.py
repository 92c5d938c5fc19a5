"""The device behind the ports that NICs have: AXI4-Stream for frames, AXI4-Lite for control."""
