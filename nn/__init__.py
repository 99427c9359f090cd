"""The parts of the network: Keras layers and pure functions on tensors."""
