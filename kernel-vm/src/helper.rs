//! The helpers that programs may call: one table.
//!
//! Numbers are Linux's where a helper means the same there; ours start at 0x6b66.
//!
//! **Invariant**: the verifier checks calls and the engines make them by this table alone.

/// What a helper expects in one of r1 to r5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arg {
    /// Nothing: the register is not looked at.
    None,
    /// Any number.
    Scalar,
    /// The number 0.
    Zero,
    /// A map.
    Map,
    /// Readable bytes, as many as the map's key has.
    Key,
    /// Readable bytes, as many as the map's value has.
    Value,
    /// Two initialised words, 16 bytes, to read and to write.
    Words,
    /// Readable, initialised bytes; their number is the next argument.
    Bytes,
    /// The number of bytes of the argument before: that of a record.
    RecordSize,
    /// How often, a number with a known upper bound.
    Count,
    /// A function of the program.
    Func,
    /// What the function gets: a pointer or a number.
    Context,
}

/// What a helper leaves in r0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ret {
    /// A number.
    Scalar,
    /// The address of a map's value, or 0.
    ValueOrNull,
}

macro_rules! helpers {
    ($($(#[$doc:meta])* $name:ident = $id:literal, $text:expr, [$($arg:ident),*] -> $ret:ident, $cost:expr;)*) => {
        /// A helper.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Helper { $($(#[$doc])* $name,)* }

        impl Helper {
            /// Every helper.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its number in a call.
            #[must_use]
            pub const fn id(self) -> i32 {
                match self { $(Self::$name => $id,)* }
            }

            /// The helper with this number.
            #[must_use]
            pub const fn from_id(id: i32) -> Option<Self> {
                match id { $($id => Some(Self::$name),)* _ => None }
            }

            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What it expects in r1 and on; the rest is [`Arg::None`].
            #[must_use]
            pub const fn args(self) -> &'static [Arg] {
                match self { $(Self::$name => &[$(Arg::$arg),*],)* }
            }

            /// What it leaves in r0.
            #[must_use]
            pub const fn ret(self) -> Ret {
                match self { $(Self::$name => Ret::$ret,)* }
            }

            /// What it counts for in the bound on insns, without a callback's own.
            #[must_use]
            pub const fn cost(self) -> u64 {
                match self { $(Self::$name => $cost,)* }
            }
        }
    };
}

helpers! {
    /// The value of a key, or null.
    MapLookup = 1, "map_lookup_elem", [Map, Key] -> ValueOrNull, 10;
    /// Sets the value of a key; 0, or a negative number when there is no room.
    MapUpdate = 2, "map_update_elem", [Map, Key, Value, Zero] -> Scalar, 20;
    /// Removes a key; 0, or a negative number when there is none.
    MapDelete = 3, "map_delete_elem", [Map, Key] -> Scalar, 20;
    /// Nanoseconds since boot.
    BootTime = 125, "ktime_get_boot_ns", [] -> Scalar, 5;
    /// Calls a function for 0, 1, … until it returns something else than 0 or the count is
    /// reached; how often it was called.
    Loop = 181, "loop", [Count, Func, Context, Zero] -> Scalar, 1;
    /// Hands a record to the host; 0, or a negative number when there was no room.
    Emit = 0x6b66, "emit", [Bytes, RecordSize] -> Scalar, 20;
    /// The thread that a thread waits for, by tids; 0 for none.
    WaitsFor = 0x6b67, "waits_for", [Scalar] -> Scalar, 20;
    /// `a * b / c` on the exact product, saturated: [`crate::arith::mul_div`].
    MulDiv = 0x6b68, "mul_div", [Scalar, Scalar, Scalar] -> Scalar, 20;
    /// An average after one more value, by the time and a half-life; the weight that the past
    /// keeps in it: [`average`](crate::arith::history::average).
    Average = 0x6b69, "average", [Words, Scalar, Scalar, Scalar] -> Scalar, 20;
    /// A variance after one more difference, with the weight that the past keeps:
    /// [`spread`](crate::arith::history::spread); 0.
    Spread = 0x6b6a, "spread", [Words, Scalar, Scalar] -> Scalar, 20;
    /// The square root of a variance, by its low and its high half:
    /// [`root`](crate::arith::history::root).
    Root = 0x6b6b, "root", [Scalar, Scalar] -> Scalar, 20;
}
