/// How much there is to do: 1 % of it is 1 % of the time.
pub const PAGES: u64 = 300;
