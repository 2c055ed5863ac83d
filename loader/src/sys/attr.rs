//! The argument block of bpf(2), field by field.
//!
//! The offsets are those of `union bpf_attr` in the kernel's UAPI header, which never
//! change. Bytes that a command does not use are zero, as the kernel demands.
//!
//! **Invariant**: a block has room for every field of every command used here.

/// Bytes of a block: the kernel takes any size whose unknown part is zero.
pub(super) const ATTR_BYTES: usize = 152;
/// Bytes of a name with its final zero.
const NAME_BYTES: usize = 16;

/// A zeroed argument block, aligned as the kernel's.
#[derive(Debug)]
#[repr(C, align(8))]
pub(super) struct Attr([u8; ATTR_BYTES]);

impl Attr {
    pub(super) const fn new() -> Self {
        Self([0; ATTR_BYTES])
    }

    pub(super) fn u32(mut self, offset: usize, value: u32) -> Self {
        self.0[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
        self
    }

    pub(super) fn u64(mut self, offset: usize, value: u64) -> Self {
        self.0[offset..offset + 8].copy_from_slice(&value.to_ne_bytes());
        self
    }

    /// The characters of `name` that the kernel takes, cut to the room that it has.
    pub(super) fn name(mut self, offset: usize, name: &str) -> Self {
        let taken = name.bytes().filter(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.'));
        for (to, byte) in self.0[offset..offset + NAME_BYTES - 1].iter_mut().zip(taken) {
            *to = byte;
        }
        self
    }

    pub(super) fn get_u32(&self, offset: usize) -> u32 {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.0[offset..offset + 4]);
        u32::from_ne_bytes(bytes)
    }

    pub(super) const fn as_mut_ptr(&mut self) -> *mut u8 {
        self.0.as_mut_ptr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_cut_and_loses_what_the_kernel_refuses() {
        let attr = Attr::new().name(28, "state_very-long_filter_name");
        assert_eq!(&attr.0[28..44], b"state_verylong_\0");
        assert_eq!(attr.0[44], 0);
    }
}
