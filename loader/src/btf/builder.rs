//! BTF made by hand, for tests.

use super::{Btf, Kind, TypeId, push_words};
use std::collections::HashMap;

/// A member: name, type, offset in bits, bits of a bitfield or 0.
pub(crate) type BuiltMember<'a> = (&'a str, TypeId, u32, u32);

/// Types in the making.
pub(crate) struct Builder {
    types: Vec<u8>,
    count: u32,
    strings: Vec<u8>,
    known: HashMap<String, u32>,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self { types: Vec::new(), count: 0, strings: vec![0], known: HashMap::new() }
    }

    pub(crate) fn string(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let next = u32::try_from(self.strings.len()).unwrap();
        let offset = *self.known.entry(text.to_owned()).or_insert(next);
        if offset == next {
            self.strings.extend(text.as_bytes());
            self.strings.push(0);
        }
        offset
    }

    /// A type of `kind` by its words.
    pub(crate) fn add(
        &mut self,
        kind: Kind,
        name: &str,
        flag: bool,
        members: u32,
        size_or_type: u32,
        payload: &[u32],
    ) -> TypeId {
        let name = self.string(name);
        let info = u32::from(flag) << 31 | u32::from(kind as u8) << 24 | members;
        push_words(&mut self.types, &[name, info, size_or_type]);
        push_words(&mut self.types, payload);
        self.count += 1;
        TypeId(self.count)
    }

    pub(crate) fn int(&mut self, name: &str, bytes: u32, signed: bool) -> TypeId {
        let encoding = (u32::from(signed) << 24) | (bytes * 8);
        self.add(Kind::Int, name, false, 0, bytes, &[encoding])
    }

    pub(crate) fn refers(&mut self, kind: Kind, name: &str, to: TypeId) -> TypeId {
        self.add(kind, name, false, 0, to.0, &[])
    }

    pub(crate) fn array(&mut self, element: TypeId, elements: u32) -> TypeId {
        self.add(Kind::Array, "", false, 0, 0, &[element.0, element.0, elements])
    }

    pub(crate) fn composite(
        &mut self,
        kind: Kind,
        name: &str,
        bytes: u32,
        members: &[BuiltMember<'_>],
    ) -> TypeId {
        let bitfields = members.iter().any(|(.., bits)| *bits > 0);
        let mut payload = Vec::new();
        for (member, ty, offset, bits) in members {
            payload.extend([self.string(member), ty.0, bits << 24 | offset]);
        }
        let count = u32::try_from(members.len()).unwrap();
        self.add(kind, name, bitfields, count, bytes, &payload)
    }

    pub(crate) fn structure(
        &mut self,
        name: &str,
        bytes: u32,
        members: &[BuiltMember<'_>],
    ) -> TypeId {
        self.composite(Kind::Struct, name, bytes, members)
    }

    pub(crate) fn enumeration(&mut self, name: &str, values: &[(&str, u32)]) -> TypeId {
        let mut payload = Vec::new();
        for (value, number) in values {
            payload.extend([self.string(value), *number]);
        }
        let count = u32::try_from(values.len()).unwrap();
        self.add(Kind::Enum, name, false, count, 4, &payload)
    }

    /// The finished data.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        push_words(&mut bytes, &[24, 0, types, types, strings]);
        bytes.extend(&self.types);
        bytes.extend(&self.strings);
        bytes
    }

    pub(crate) fn build(&self) -> Btf<Vec<u8>> {
        Btf::parse(self.bytes(), |_, _| Ok(())).unwrap()
    }
}
