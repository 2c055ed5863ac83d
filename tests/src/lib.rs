//! What the end-to-end tests share: real misbehaving programs and ways to ask /proc the truth.
