"""How atoms are arranged: bonds, tetrahedra, chains, rings, pair distributions."""
