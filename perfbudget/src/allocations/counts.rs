//! How much was asked of the allocator: the value that a count gate compares.

use crate::count_set::count_set;

count_set! {
    /// What a scope saw of the allocator's work.
    ///
    /// A request that the allocator refuses counts as nothing. Sizes are those that were asked
    /// for, not those that the allocator rounded them to.
    ///
    /// ```
    /// use perfbudget::AllocationCounts;
    ///
    /// let counts = AllocationCounts::new().allocations(3).bytes(96);
    /// assert_eq!(counts.into_iter().collect::<Vec<_>>(), [("allocations", 3), ("bytes", 96)]);
    /// assert_eq!(counts.only(["allocations"]), AllocationCounts::new().allocations(3));
    /// ```
    pub struct AllocationCounts {
        /// Requests that were given memory: `alloc`, `alloc_zeroed` and `realloc`.
        ///
        /// A `realloc` is one, whether its block stayed in its place or moved: which of the two is
        /// the allocator's chance.
        pub allocations: u64,
        /// How many of the allocations were `realloc`: what a `Vec` or a `String` does that grows
        /// beyond its capacity, or shrinks.
        pub reallocations: u64,
        /// Blocks that were given back: `dealloc`, and the old block of a `realloc`. So
        /// `allocations - deallocations` blocks are more than there were before.
        pub deallocations: u64,
        /// Bytes of the allocations; of a `realloc` the whole new size.
        pub bytes: u64,
        /// The most bytes by which what was allocated ever exceeded what was given back.
        ///
        /// It counts from where the scope opened, so that giving back what is older makes room in
        /// it. Of a thread, both are that thread's own: memory that it frees for another makes
        /// room, memory that another frees for it does not. A `realloc` is never there twice.
        pub peak_bytes: u64,
    }
}
