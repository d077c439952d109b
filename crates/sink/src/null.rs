//! The sink that delivers everything to nobody: for measuring what is in front of it.

use sockeye_pipeline::{Delivery, SendError, Sink};

/// Delivers everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Null;

impl Sink for Null {
    fn send(&mut self, delivery: Delivery) -> Result<(), SendError> {
        delivery.delivered();
        Ok(())
    }
}
