//! One state of a small group: what each member holds durably, what it knows while it runs, what is under way between them, and what
//! the checker remembers. Small numbers stand for the wide ones of core; [`crate::bridge`] turns them into core's types.

/// A partner.
pub const A: u8 = 0;
/// The other partner.
pub const B: u8 = 1;
/// The first witness.
pub const W: u8 = 2;
/// The second witness, for changes of witness.
pub const V: u8 = 3;
/// No member: no witness is set.
pub const NOBODY: u8 = 9;
/// No change of witness is under way.
pub const NO_CHANGE: u8 = 8;
/// Blocks that a log can hold.
pub const LOG_MAX: usize = 4;
/// Messages under way in one direction of a connection.
pub const QUEUE_MAX: usize = 3;
/// Pairs of members that talk: A–B, A–W, B–W, A–V, B–V.
pub const PAIRS: [(u8, u8); 5] = [(A, B), (A, W), (B, W), (A, V), (B, V)];

/// A durable record in small numbers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Rec {
    /// role_sequence.
    pub role: u8,
    /// The owner.
    pub owner: u8,
    /// sync_sequence.
    pub number: u8,
    /// SYNC.
    pub sync: bool,
    /// Taken by forced service.
    pub forced: bool,
}

/// The blocks of a log; 0 is no block. A block's byte is its id (3 bits), its timeline (number 3 bits, who began it 1 bit), and VOID (1
/// bit); ids are drawn once in the whole group, so equal bytes are equal blocks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Log(pub [u8; LOG_MAX]);

impl Log {
    /// Number of blocks.
    pub fn len(&self) -> u8 {
        self.0.iter().take_while(|b| **b != 0).count() as u8
    }
    /// No block.
    pub fn is_empty(&self) -> bool {
        self.0[0] == 0
    }
    /// Appends; false when full.
    pub fn push(&mut self, block: u8) -> bool {
        let at = usize::from(self.len());
        if at == LOG_MAX {
            return false;
        }
        self.0[at] = block;
        true
    }
    /// Cuts to `len` blocks.
    pub fn cut(&mut self, len: u8) {
        for block in self.0.iter_mut().skip(usize::from(len)) {
            *block = 0;
        }
    }
    /// The ids in it, as bits.
    pub fn ids(&self) -> u8 {
        self.0
            .iter()
            .take_while(|b| **b != 0)
            .fold(0, |mask, b| mask | 1 << id_of(*b))
    }
}

/// A block's id.
pub const fn id_of(block: u8) -> u8 {
    block & 7
}
/// A block's timeline: number × 2 + who began it.
pub const fn timeline_of(block: u8) -> u8 {
    block >> 3 & 15
}
/// Makes a block.
pub const fn block(id: u8, timeline: u8, void: bool) -> u8 {
    id | timeline << 3 | (void as u8) << 7
}

/// A partner.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Partner {
    // -- durable
    /// The record that its storage holds.
    pub kept: Rec,
    /// Number of its highest ask.
    pub ask: u8,
    /// That ask is open.
    pub ask_open: bool,
    /// That ask is one of forced service.
    pub ask_force: bool,
    /// Incomplete (R6).
    pub incomplete: bool,
    /// As the owner: its log has lost its last hardened block, which its file has. It is made anew before it opens.
    pub lost: bool,
    /// The witness it names, or [`NOBODY`].
    pub witness: u8,
    /// The record's numbers at which it was named.
    pub named_role: u8,
    /// The record's numbers at which it was named.
    pub named_number: u8,
    /// Named and not registered yet.
    pub pending: bool,
    /// The other partner owns the same role_sequence (R8).
    pub clash: bool,
    /// As the owner: after forced service nothing of the other copy is undone before RESUME (R8).
    pub suspended: bool,
    /// The log.
    pub log: Log,
    /// Blocks of it that survive a power cut.
    pub hard: u8,
    /// The newest timeline begun or heard of: number × 2 + who began it.
    pub timeline: u8,
    // -- while it runs
    /// It runs.
    pub up: bool,
    /// The record it goes by; another than `kept` only under a mutant.
    pub rec: Rec,
    /// It holds the role and has opened.
    pub serves: bool,
    /// UNSYNC and a new timeline were begun since its restart.
    pub prepared: bool,
    /// Ids of blocks that an application waits for.
    pub waiting: u8,
    /// The mirror has confirmed the record.
    pub by_mirror: bool,
    /// The witness has.
    pub by_witness: bool,
    /// The logs were compared over this binding.
    pub joined: bool,
    /// Blocks that the mirror is known to have hardened.
    pub acked: u8,
    /// Blocks that were sent.
    pub sent: u8,
    /// A block that is being written and is not hardened yet; 0 for none.
    pub coming: u8,
    /// The open ask was sent over the present binding to the witness.
    pub ask_here: bool,
    /// The mirror's hello carried an open ask of this number.
    pub mirror_ask: u8,
    /// The witness was found blank over this binding.
    pub blank: bool,
    /// Confirmed *again* for a registration: 0 not asked, 1 asked, 2 confirmed, 3 registered.
    pub again: u8,
    /// Number of the request for that.
    pub request: u8,
    /// What a change of witness leads to; [`NO_CHANGE`] for none.
    pub target: u8,
    /// The change has recorded its UNSYNC.
    pub raised: bool,
    /// The mirror names the target as pending: 0 no, 1 told, 2 shown.
    pub told: u8,
    /// The target has confirmed: 0 no, 1 registered, 2 confirmed.
    pub by_target: u8,
    /// Incomplete, as a mirror: the end of the owner's log as its hello on this binding told it.
    pub missing: u8,
    /// The witness that the mirror names, as heard over this binding; [`NO_CHANGE`] while unknown.
    pub mirror_witness: u8,
    /// It names it as pending.
    pub mirror_pending: bool,
}

/// What a witness keeps.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Witness {
    /// 0 blank, 1 a record, 2 dropped by `rec.owner`.
    pub keeps: u8,
    /// The record.
    pub rec: Rec,
}

/// What a message is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum Kind {
    /// No message.
    #[default]
    Nothing,
    /// The first hello on a binding.
    Hello,
    /// A hello after a change of role, which is answered.
    HelloAgain,
    /// The answer to such a hello, or to what cannot be taken.
    HelloAnswer,
    /// Owner: persist this record.
    Record,
    /// It is persisted; or what is held.
    Confirm,
    /// Owner to mirror: show your record again.
    ConfirmAgain,
    /// A block.
    Block,
    /// Hardened.
    Ack,
    /// FAILOVER or hand-back.
    Propose,
    /// An incomplete mirror may not take the role that it was shown.
    Decline,
    /// May I take over?
    Ask,
    /// Yes.
    Grant,
    /// No.
    Denial,
    /// Owner to witness: take part.
    Register,
    /// Owner to mirror: name this witness, pending.
    Name,
    /// Owner to its former witness: you are not needed.
    Drop,
    /// Owner to witness, the mirror away: WITNESS OFF.
    Off,
    /// It is off.
    IsOff,
}

/// A message.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Msg {
    /// What it is.
    pub kind: Kind,
    /// The record that it shows.
    pub rec: Rec,
    /// Ask, request, role_sequence: the number it quotes.
    pub number: u8,
    /// Position, what a witness keeps, or that a partner's session is suspended.
    pub at: u8,
    /// The block, or the witness that is named.
    pub what: u8,
    /// Forced; pending.
    pub flag: bool,
    /// The log of a hello.
    pub log: Log,
    /// The sender's newest timeline.
    pub timeline: u8,
}

/// Messages under way, first in, first out.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Queue {
    /// How many.
    pub len: u8,
    /// They; the rest is [`Kind::Nothing`].
    pub list: [Msg; QUEUE_MAX],
}

impl std::hash::Hash for Queue {
    /// What is in it; the rest is empty in every state.
    fn hash<H: std::hash::Hasher>(&self, to: &mut H) {
        to.write_u8(self.len);
        for msg in self.list.iter().take(usize::from(self.len)) {
            msg.hash(to);
        }
    }
}

impl Queue {
    /// Appends; false when full.
    pub fn push(&mut self, msg: Msg) -> bool {
        let at = usize::from(self.len);
        if at == QUEUE_MAX {
            return false;
        }
        self.list[at] = msg;
        self.len += 1;
        true
    }
    /// Takes the first.
    pub fn pop(&mut self) -> Option<Msg> {
        if self.len == 0 {
            return None;
        }
        let first = self.list[0];
        self.list.rotate_left(1);
        self.list[QUEUE_MAX - 1] = Msg::default();
        self.len -= 1;
        Some(first)
    }
}

/// Where the end of a pair that does not name connections stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum On {
    /// On none.
    #[default]
    None,
    /// On one that the other end has left for a newer one, whose USE has not arrived.
    Old,
    /// On the newest.
    Newest,
}

/// What lies between two members. The *low* end names connections by USE.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Link {
    /// The low end is on the newest connection.
    pub low_on: bool,
    /// Where the high end is.
    pub high_on: On,
    /// USE for the newest is under way.
    pub use_due: bool,
    /// The newest connection is cut: nothing more gets through, though neither end need know it.
    pub broken: bool,
    /// The low end has said its hello.
    pub low_said: bool,
    /// The low end has handled the other's.
    pub low_heard: bool,
    /// The high end has said its hello.
    pub high_said: bool,
    /// The high end has handled the other's.
    pub high_heard: bool,
    /// Low to high, on the connection that the low end has left.
    pub old: Queue,
    /// Low to high.
    pub up: Queue,
    /// High to low.
    pub down: Queue,
}

/// What may still happen from outside.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Budget {
    /// Commits that applications issue.
    pub commits: u8,
    /// Connections that are cut.
    pub cuts: u8,
    /// Crashes of a partner.
    pub crashes: u8,
    /// Power cuts of a partner, which lose what is not synced.
    pub powers: u8,
    /// Restarts of a partner that finds a hardened block damaged, and its log cut there.
    pub rots: u8,
    /// Losses of a witness's storage.
    pub losses: u8,
    /// Asks.
    pub asks: u8,
    /// FAILOVER.
    pub failovers: u8,
    /// FORCE_SERVICE_ALLOW_DATA_LOSS.
    pub forces: u8,
    /// SET WITNESS, to the other witness or to none, and WITNESS OFF.
    pub changes: u8,
    /// Applications killed while they wait.
    pub kills: u8,
    /// RESUME after forced service.
    pub resumes: u8,
    /// SUSPEND, SAFETY OFF, a mirror that is full: what ends waiting with the mirror bound.
    pub exposes: u8,
}

/// What the checker remembers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Ghost {
    /// Ids that were acknowledged and that no forced service has given up.
    pub acked: u8,
    /// Ids drawn so far.
    pub drawn: u8,
    /// The highest role_sequence under which somebody opened.
    pub top: u8,
    /// The highest role_sequence opened by forced service.
    pub forced: u8,
    /// The owner of each role_sequence that any storage ever held, plus one.
    pub owners: [u8; 8],
    /// What is false, if something is.
    pub broken: u8,
}

/// A state.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct State {
    /// A and B.
    pub partners: [Partner; 2],
    /// W and V.
    pub witnesses: [Witness; 2],
    /// Between [`PAIRS`].
    pub links: [Link; 5],
    /// What may still happen.
    pub left: Budget,
    /// What the checker remembers.
    pub ghost: Ghost,
}
