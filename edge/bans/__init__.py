"""Addresses that guess passwords get no answer for a while: who is banned, over all processes, and who may say so."""
