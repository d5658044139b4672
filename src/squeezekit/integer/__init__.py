"""A network in integers: plan, quantizer, bit-exact reference, placement of feature maps in RAM."""
