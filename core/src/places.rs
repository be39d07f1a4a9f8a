//! Places that the caller lends, as many as there may ever be; most of them are free most of the time.

use core::ops::{Deref, DerefMut};

/// One of them.
pub(crate) trait Place {
    /// Whether this build has a use for such places at all. Where it has none the compiler sees it, and leaves out what they are for.
    const USED: bool = true;

    /// Nothing lies in it.
    fn is_free(&self) -> bool;
}

/// The places up to the last one that is taken: what is worked out anew at each call costs by what there is, not by what there might be.
#[derive(Debug)]
pub(crate) struct Places<'a, S> {
    lent: &'a mut [S],
    /// All after so many are free.
    reach: usize,
}

impl<'a, S: Place> Places<'a, S> {
    pub(crate) fn new(lent: &'a mut [S]) -> Self {
        let reach = lent.len();
        let mut places = Self { lent, reach };
        places.freed();
        places
    }

    /// The first free place and its index, for the caller to take.
    pub(crate) fn free(&mut self) -> Option<(usize, &mut S)> {
        let at = self.iter().position(Place::is_free).unwrap_or(self.len());
        let place = self.lent.get_mut(at).filter(|_| S::USED)?;
        self.reach = self.reach.max(at.saturating_add(1));
        Some((at, place))
    }

    /// Whether none is free.
    pub(crate) fn is_full(&self) -> bool {
        self.len() == self.lent.len() && !self.iter().any(Place::is_free)
    }

    /// A place has been given up.
    pub(crate) fn freed(&mut self) {
        while let Some(last) = self.reach.checked_sub(1)
            && self.lent.get(last).is_none_or(Place::is_free)
        {
            self.reach = last;
        }
    }
}

impl<S: Place> Deref for Places<'_, S> {
    type Target = [S];

    fn deref(&self) -> &[S] {
        if S::USED {
            self.lent.get(..self.reach).unwrap_or_default()
        } else {
            &[]
        }
    }
}

impl<S: Place> DerefMut for Places<'_, S> {
    fn deref_mut(&mut self) -> &mut [S] {
        if S::USED {
            self.lent.get_mut(..self.reach).unwrap_or_default()
        } else {
            &mut []
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Place, Places};

    impl Place for u8 {
        fn is_free(&self) -> bool {
            *self == 0
        }
    }

    /// Takes the first free place for `what`.
    fn put(places: &mut Places<'_, u8>, what: u8) -> Option<usize> {
        let (at, place) = places.free()?;
        *place = what;
        Some(at)
    }

    fn clear(places: &mut Places<'_, u8>, at: usize) {
        places[at] = 0;
        places.freed();
    }

    #[test]
    fn the_first_free_place_is_taken_and_no_more_is_looked_at_than_there_is() {
        let mut lent = [0; 4];
        let mut places = Places::new(&mut lent);
        assert!(places.is_empty());
        assert_eq!(
            (put(&mut places, 1), put(&mut places, 2), put(&mut places, 3)),
            (Some(0), Some(1), Some(2))
        );
        assert_eq!(*places, [1, 2, 3]);
        clear(&mut places, 1);
        assert_eq!(*places, [1, 0, 3]);
        assert_eq!(put(&mut places, 4), Some(1));
        clear(&mut places, 1);
        clear(&mut places, 2);
        assert_eq!(*places, [1], "what is free at the end is not looked at");
        clear(&mut places, 0);
        assert!(places.is_empty());
    }

    #[test]
    fn full_is_when_all_that_was_lent_is_taken() {
        let mut lent = [0; 2];
        let mut places = Places::new(&mut lent);
        assert!(!places.is_full());
        put(&mut places, 1);
        assert!(!places.is_full());
        put(&mut places, 2);
        assert!(places.is_full());
        assert_eq!(put(&mut places, 3), None);
        clear(&mut places, 0);
        assert!(!places.is_full());
        assert_eq!(put(&mut places, 3), Some(0));
        assert!(Places::<u8>::new(&mut []).is_full());
    }

    #[test]
    fn places_that_are_lent_taken_are_seen() {
        let mut lent = [0, 7, 0];
        let mut places = Places::new(&mut lent);
        assert_eq!(*places, [0, 7]);
        assert_eq!(put(&mut places, 1), Some(0));
    }
}
