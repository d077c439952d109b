//! Where rows come from: the sock_diag readers.
