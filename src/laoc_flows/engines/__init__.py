"""Who computes energies, forces and stresses."""
