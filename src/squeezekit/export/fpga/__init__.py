"""Verilog in integers, for FPGAs."""
