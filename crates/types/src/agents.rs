//! What `agents-server` says about bundles.
