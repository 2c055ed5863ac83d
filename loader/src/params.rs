//! A filter's `.rodata`: system values and parameters, filled in before it is loaded.
//!
//! Pure: text in, bytes out. Literals are those of the language ([`kernel_vm::literal`]).
//!
//! **Invariant**: a parameter that is not given keeps the object's default; one that is
//! given twice, unknown or of another type is an error.

use crate::elf::Object;
use crate::error::LoadError;
use crate::host::Request;
use kernel_vm::abi::FIXED_ONE;
use kernel_vm::literal::{self, LiteralError};
use kernel_vm::object::{FilterMeta, ParamMeta};
use kernel_vm::schema::{SystemValue, Type, Unit};

/// Values that describe the machine; 0 for one that is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SystemValues {
    /// `system.memory`, in bytes.
    pub memory: u64,
    /// `system.cpus`.
    pub cpus: u64,
}

/// A parameter as given: `name=value`.
pub type Given = (String, String);

/// A parameter that a filter does not take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("parameter `{name}`: {kind}")]
pub struct ParamError {
    /// The parameter.
    pub name: String,
    /// What is wrong with it.
    pub kind: ParamErrorKind,
}

/// What can be wrong with a parameter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParamErrorKind {
    /// The filter has no such parameter.
    #[error("filter `{filter}` has no such parameter; it has {known}")]
    Unknown {
        /// The filter.
        filter: String,
        /// Those that it has.
        known: String,
    },
    /// Given more than once.
    #[error("given twice")]
    Twice,
    /// The value cannot be read.
    #[error("`{value}` is no {wanted}: {reason} (the default is {default})")]
    Value {
        /// The value as given.
        value: String,
        /// The parameter's type.
        wanted: String,
        /// What is wrong.
        reason: String,
        /// The default, as the source has it.
        default: String,
    },
}

/// Splits `name=value`.
///
/// # Errors
/// The text itself when it has no `=`.
pub fn split(text: &str) -> Result<Given, String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        Some(_) | None => Err(format!("`{text}` is not of the form name=value")),
    }
}

impl<'a> Request<'a> {
    /// Prepares filter `name` of `object`.
    ///
    /// # Errors
    /// [`LoadError::NoSuchFilter`] or [`LoadError::Param`].
    pub fn new(
        object: &'a Object,
        name: &str,
        params: &[Given],
        system: SystemValues,
    ) -> Result<Self, LoadError> {
        let filter = object.filter(name).ok_or_else(|| LoadError::NoSuchFilter {
            name: name.to_owned(),
            known: object.filters().iter().map(|filter| filter.name.clone()).collect(),
        })?;
        let mut rodata =
            object.data_section(".rodata").map(|data| data.bytes.clone()).unwrap_or_default();
        let start = filter.rodata.offset as usize;
        let end = start.saturating_add(filter.rodata.size as usize);
        if let Some(block) = rodata.get_mut(start..end) {
            fill_system(block, system);
            fill(block, filter, params)?;
        }
        Ok(Self { object, filter, rodata })
    }
}

fn fill_system(block: &mut [u8], system: SystemValues) {
    for value in SystemValue::ALL {
        let known = match value {
            SystemValue::Memory => system.memory,
            SystemValue::Cpus => system.cpus,
        };
        let known = i64::try_from(known).unwrap_or(i64::MAX);
        put(block, value.offset(), &known.to_le_bytes());
    }
}

/// Writes the given parameters into the filter's block.
fn fill(block: &mut [u8], filter: &FilterMeta, params: &[Given]) -> Result<(), ParamError> {
    for (i, (name, value)) in params.iter().enumerate() {
        let error = |kind| ParamError { name: name.clone(), kind };
        let Some(param) = filter.params.iter().find(|param| param.name == *name) else {
            let known: Vec<_> = filter.params.iter().map(|param| param.name.as_str()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let filter = filter.name.clone();
            return Err(error(ParamErrorKind::Unknown { filter, known }));
        };
        if params[..i].iter().any(|(other, _)| other == name) {
            return Err(error(ParamErrorKind::Twice));
        }
        let bytes = encode(param, value).map_err(|reason| {
            error(ParamErrorKind::Value {
                value: value.clone(),
                wanted: param.ty.0.to_string(),
                reason,
                default: param.default.clone(),
            })
        })?;
        put(block, param.offset as usize, &bytes);
    }
    Ok(())
}

fn put(block: &mut [u8], offset: usize, bytes: &[u8]) {
    let end = offset.saturating_add(bytes.len());
    // The layout was checked when the object was parsed.
    if let Some(to) = block.get_mut(offset..end) {
        to.copy_from_slice(bytes);
    }
}

/// The bytes of a value of the parameter's type.
fn encode(param: &ParamMeta, text: &str) -> Result<Vec<u8>, String> {
    let number = match param.ty.0 {
        Type::Text { capacity } => return encode_text(text, usize::from(capacity)),
        Type::Bool => match text {
            "true" => 1,
            "false" => 0,
            _ => return Err("write true or false".to_owned()),
        },
        Type::Enum(kind) => {
            let index = kind.values().iter().position(|value| *value == text);
            let index =
                index.ok_or_else(|| format!("write one of {}", kind.values().join(", ")))?;
            i64::try_from(index).unwrap_or(i64::MAX)
        }
        Type::Int(Unit::Device) => device(text)?,
        Type::Int(_) | Type::PerSecond(_) | Type::Thread => quantity(text, param.ty.0)?,
        Type::Object => return Err("an object cannot be written".to_owned()),
    };
    Ok(number.to_le_bytes().to_vec())
}

/// A number with its unit, for a parameter of type `wanted`.
fn quantity(text: &str, wanted: Type) -> Result<i64, String> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let literal = literal::parse(digits).map_err(|error| {
        if error == LiteralError::UnknownUnit {
            let known: Vec<_> = literal::UNIT_WORDS.iter().map(|(word, ..)| *word).collect();
            return format!("unknown unit; there are {}", known.join(" "));
        }
        error.to_string()
    })?;
    let value = match (literal.ty, wanted) {
        (found, wanted) if found == wanted => Some(literal.value),
        // As in the language, a bare number beside a ratio counts wholes.
        (Type::Int(Unit::Count), Type::Int(Unit::Ratio)) => literal.value.checked_mul(FIXED_ONE),
        (
            Type::Int(Unit::Count),
            Type::Int(Unit::Id | Unit::Address | Unit::Bits) | Type::Thread,
        ) => Some(literal.value),
        (found, _) => return Err(format!("that is a {found}")),
    };
    let value = value.ok_or_else(|| LiteralError::TooLarge.to_string())?;
    Ok(if negative { value.saturating_neg() } else { value })
}

/// `major:minor`, as the kernel keeps it.
fn device(text: &str) -> Result<i64, String> {
    let parts = text.split_once(':').and_then(|(major, minor)| {
        let major: i64 = major.parse().ok().filter(|major| (0..1 << 12).contains(major))?;
        let minor: i64 = minor.parse().ok().filter(|minor| (0..1 << 20).contains(minor))?;
        Some(major << 20 | minor)
    });
    parts.ok_or_else(|| "write major:minor".to_owned())
}

/// The text, then a mask with 0xff for each of its bytes.
fn encode_text(text: &str, capacity: usize) -> Result<Vec<u8>, String> {
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    if text.len() > capacity {
        return Err(format!("{} bytes are more than the {capacity} that fit", text.len()));
    }
    if text.contains('\0') {
        return Err("it contains a zero byte".to_owned());
    }
    let mut bytes = vec![0; capacity * 2];
    bytes[..text.len()].copy_from_slice(text.as_bytes());
    bytes[capacity..capacity + text.len()].fill(0xff);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernel_vm::object::TypeMeta;
    use kernel_vm::schema::EnumKind;

    fn param(ty: Type) -> ParamMeta {
        ParamMeta {
            name: "p".into(),
            doc: String::new(),
            ty: TypeMeta(ty),
            offset: 16,
            size: 8,
            default: "80%".into(),
        }
    }

    fn number(ty: Type, text: &str) -> Result<i64, String> {
        encode(&param(ty), text).map(|bytes| i64::from_le_bytes(bytes.try_into().unwrap()))
    }

    #[test]
    fn values_are_read_in_the_parameters_unit() {
        assert_eq!(number(Type::Int(Unit::Ratio), "50%"), Ok(500_000));
        assert_eq!(number(Type::Int(Unit::Ratio), "2"), Ok(2_000_000));
        assert_eq!(number(Type::Int(Unit::Count), "-3"), Ok(-3));
        assert_eq!(number(Type::Int(Unit::Duration), "10s"), Ok(10_000_000_000));
        assert_eq!(number(Type::Bool, "true"), Ok(1));
        assert_eq!(number(Type::Enum(EnumKind::State), "zombie"), Ok(6));
        assert_eq!(number(Type::Int(Unit::Device), "8:1"), Ok(8 << 20 | 1));
        assert_eq!(number(Type::Int(Unit::Id), "1000"), Ok(1000));
    }

    #[test]
    fn values_of_another_unit_are_refused() {
        insta::assert_snapshot!(
            number(Type::Int(Unit::Bytes), "10s").unwrap_err(), @"that is a duration");
        insta::assert_snapshot!(
            number(Type::Int(Unit::Bytes), "10").unwrap_err(), @"that is a count");
        insta::assert_snapshot!(
            number(Type::Int(Unit::Bytes), "10mb").unwrap_err(),
            @"unknown unit; there are B KiB MiB GiB TiB PiB KB MB GB TB ns us ms s min h d %");
        insta::assert_snapshot!(
            number(Type::Bool, "1").unwrap_err(), @"write true or false");
        insta::assert_snapshot!(
            number(Type::Int(Unit::Ratio), "99999999999999").unwrap_err(),
            @"the value does not fit 64 bits");
    }

    #[test]
    fn a_text_is_followed_by_its_mask() {
        let bytes = encode(&param(Type::Text { capacity: 8 }), "abc").unwrap();
        assert_eq!(bytes, [*b"abc\0\0\0\0\0", [255, 255, 255, 0, 0, 0, 0, 0]].concat());
        assert!(encode(&param(Type::Text { capacity: 8 }), "123456789").is_err());
    }
}
