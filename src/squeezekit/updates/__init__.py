"""Updates over the air: signed repositories of `.sqz` files, deltas between versions, and a client that never bricks a device."""
