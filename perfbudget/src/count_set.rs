//! What the counters of this crate return: named numbers that a count gate compares.

/// Declares a set of counts: a struct of `u64` with a builder for each field, a selection by name,
/// and the names and numbers as an iterator.
macro_rules! count_set {
    (
        $(#[$about:meta])*
        pub struct $Set:ident {
            $( $(#[$about_field:meta])* pub $field:ident: u64, )+
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
        pub struct $Set {
            $( $(#[$about_field])* pub $field: u64, )+
        }

        impl $Set {
            /// None of anything.
            #[must_use]
            pub const fn new() -> Self {
                Self { $( $field: 0, )+ }
            }

            $(
                #[doc = concat!("The same counts with `", stringify!($field), "` set to `n`.")]
                #[must_use]
                pub const fn $field(mut self, n: u64) -> Self {
                    self.$field = n;
                    self
                }
            )+

            /// The counts that are named, all others 0: for a gate that states only these.
            ///
            /// # Panics
            /// When a name is not that of a count, which would compare nothing with nothing.
            #[must_use]
            #[track_caller]
            pub fn only<const N: usize>(self, names: [&str; N]) -> Self {
                let mut only = Self::new();
                for name in names {
                    match name {
                        $( stringify!($field) => only.$field = self.$field, )+
                        _ => panic!(
                            "{} has no count {name:?}\nit has {}",
                            stringify!($Set),
                            [$( stringify!($field) ),+].join(", ")
                        ),
                    }
                }
                only
            }

            const fn fields(self) -> [(&'static str, u64); { [$( stringify!($field) ),+].len() }] {
                [$( (stringify!($field), self.$field) ),+]
            }
        }

        /// One line also in the `{:#?}` form, so that two counts stand beneath each other when an
        /// `assert_eq!` fails.
        impl std::fmt::Debug for $Set {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($Set), " {"))?;
                for (position, (name, n)) in self.fields().into_iter().enumerate() {
                    let separator = if position == 0 { "" } else { "," };
                    write!(f, "{separator} {name}: {n}")?;
                }
                f.write_str(" }")
            }
        }

        /// Yields name and number of every count that is not zero, in the order of the fields.
        impl IntoIterator for $Set {
            type Item = (&'static str, u64);
            type IntoIter = $crate::CountsIter<{ [$( stringify!($field) ),+].len() }>;

            fn into_iter(self) -> Self::IntoIter {
                $crate::CountsIter::new(self.fields())
            }
        }
    };
}

pub(crate) use count_set;

/// The names and numbers of a set of counts, without those that are zero.
#[derive(Clone, Debug)]
pub struct CountsIter<const N: usize>(std::array::IntoIter<(&'static str, u64), N>);

impl<const N: usize> CountsIter<N> {
    pub(crate) fn new(fields: [(&'static str, u64); N]) -> Self {
        Self(fields.into_iter())
    }
}

impl<const N: usize> Iterator for CountsIter<N> {
    type Item = (&'static str, u64);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.find(|(_, n)| *n != 0)
    }
}

/// What a closure returned, and what was counted while it ran.
#[derive(Clone, Debug)]
#[must_use]
pub struct Observed<T, C> {
    /// What the closure returned.
    pub value: T,
    counts: C,
}

impl<T, C: Copy> Observed<T, C> {
    pub(crate) fn new(value: T, counts: C) -> Self {
        Self { value, counts }
    }

    /// How much of what.
    #[must_use]
    pub fn counts(&self) -> C {
        self.counts
    }
}

#[cfg(test)]
#[expect(unreachable_pub, reason = "what the macro declares is public")]
mod tests {
    use std::panic::catch_unwind;

    count_set! {
        /// Three counts.
        pub struct Fruit {
            /// Apples.
            pub apples: u64,
            /// Pears.
            pub pears: u64,
            /// Plums.
            pub plums: u64,
        }
    }

    #[test]
    fn iterates_over_what_is_not_zero_in_the_order_of_the_fields() {
        let counts = Fruit::new().plums(3).apples(1);
        assert_eq!(
            counts.into_iter().collect::<Vec<_>>(),
            [("apples", 1), ("plums", 3)]
        );
        assert_eq!(Fruit::new().into_iter().next(), None);
    }

    #[test]
    fn only_what_is_named_is_left() {
        let counts = Fruit::new().apples(1).pears(2).plums(3);
        assert_eq!(
            counts.only(["plums", "apples"]),
            Fruit::new().apples(1).plums(3)
        );
        assert_eq!(counts.only([]), Fruit::new());
    }

    #[test]
    fn a_name_that_no_count_has_is_said_with_those_there_are() {
        let panic = catch_unwind(|| Fruit::new().only(["apples", "pear"])).expect_err("it panics");
        assert_eq!(
            *panic.downcast::<String>().expect("a text"),
            "Fruit has no count \"pear\"\nit has apples, pears, plums"
        );
    }

    #[test]
    fn debug_stays_on_one_line() {
        let text = "Fruit { apples: 0, pears: 2, plums: 0 }";
        let counts = Fruit::new().pears(2);
        assert_eq!(format!("{counts:?}"), text);
        assert_eq!(format!("{counts:#?}"), text);
    }
}
