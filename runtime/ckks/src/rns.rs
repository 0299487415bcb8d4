//! Changes of basis in the residue number system.
