"""FreeBSD's rules where they differ from Linux's: small modules that the engine asks when its profile says so."""
