//! Contracts of the data plane: Source, Sink, bounded queue, ledger, schedule and stop.
