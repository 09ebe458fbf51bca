//! Ports for the nodes under test. A node that is killed lets go of its ports until it is started again, and a test
//! beside it must not take them meanwhile: so ports are handed out in blocks, and a block belongs to the test process
//! that listens at its first port for as long as it lives.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::Mutex;

/// Blocks for single nodes: below the range from which the system draws ports for outgoing connections.
const BLOCKS: std::ops::Range<u16> = 100..300;
const BLOCK_LEN: u16 = 100;
/// Where a local cluster may have its `--base-port`: it uses up to 200 ports from there, and as many 1,000 higher.
const BASES: [u16; 10] = [3000, 3200, 3400, 3600, 3800, 5000, 5200, 5400, 5600, 5800];

/// A run of ports, held by a listener at the first of them.
struct Block {
    _held: TcpListener,
    ports: std::ops::Range<u16>,
}

/// A port that is free for both UDP and TCP, and that no other test process is given.
pub fn free_port() -> u16 {
    static BLOCK: Mutex<Option<Block>> = Mutex::new(None);
    let mut block = BLOCK.lock().unwrap();
    loop {
        match block.as_mut().and_then(|block| block.ports.next()) {
            Some(port) if is_free(port) => return port,
            Some(_) => {}
            // A listener that is dropped lets go of the block: a process that has used one up keeps it all the same.
            None => {
                if let Some(used) = block.take() {
                    std::mem::forget(used);
                }
                *block = Some(claim_block());
            }
        }
    }
}

/// A base port for a local cluster, with the listener that keeps other test processes from it.
pub fn base_port() -> (u16, TcpListener) {
    for base in BASES {
        let Some(held) = hold(base) else { continue };
        if (base + 1..base + 200).chain(base + 1001..base + 1010).all(is_free) {
            return (base, held);
        }
    }
    panic!("every base port for a local cluster is in use");
}

fn claim_block() -> Block {
    for first in BLOCKS.map(|block| block * BLOCK_LEN) {
        if let Some(held) = hold(first) {
            return Block { _held: held, ports: first + 1..first + BLOCK_LEN };
        }
    }
    panic!("every block of ports is in use");
}

fn hold(port: u16) -> Option<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()
}

fn is_free(port: u16) -> bool {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok() && hold(port).is_some()
}
