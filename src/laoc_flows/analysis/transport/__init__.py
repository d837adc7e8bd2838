"""How far ions get: displacements, diffusion, conductivity."""
