"""S(Q) and G(r) as diffraction measures them."""
