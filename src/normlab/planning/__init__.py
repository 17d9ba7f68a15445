"""How many seeds a comparison needs, before its runs are made."""
