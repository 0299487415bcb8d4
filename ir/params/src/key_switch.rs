//! Layouts of hybrid key switching: digits and special primes per level.
