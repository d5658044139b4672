"""A network in whole numbers: plan, quantiser, bit-exact reference, planner of memory."""
