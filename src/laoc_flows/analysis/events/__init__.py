"""By which steps they get there: hops, rotations, bonds that form and break."""
