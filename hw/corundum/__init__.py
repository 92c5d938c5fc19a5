"""The device behind the interface tap of Corundum's application block (docs/corundum.md)."""
