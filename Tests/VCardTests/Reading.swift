import VCard

/// Reads a whole text, in one chunk or in the pieces given.
func entries(_ bytes: [UInt8], pieces: () -> Int = { .max }) -> [VCardReader.Entry] {
    var reader = VCardReader()
    var entries: [VCardReader.Entry] = []
    var rest = bytes[...]
    while !rest.isEmpty {
        let piece = rest.prefix(pieces())
        entries += reader.feed(piece)
        rest = rest[piece.endIndex...]
    }
    return entries + reader.finish()
}

func entries(_ text: String) -> [VCardReader.Entry] { entries(Array(text.utf8)) }

func cards(_ bytes: [UInt8]) -> [VCard] { entries(bytes).compactMap { try? $0.result.get() } }

func cards(_ text: String) -> [VCard] { cards(Array(text.utf8)) }

/// The one card of these lines, with BEGIN and END around them.
func card(_ lines: String..., version: String = "4.0") throws -> VCard {
    let text = (["BEGIN:VCARD", "VERSION:\(version)"] + lines + ["END:VCARD"]).joined(separator: "\r\n")
    return try entries(text + "\r\n")[0].result.get()
}

func errors(_ entries: [VCardReader.Entry]) -> [VCardError] {
    entries.compactMap { entry in
        if case .failure(let error) = entry.result { error } else { nil }
    }
}

/// A card whose only property is the line given as bytes.
func cardBytes(_ line: [UInt8]) -> [UInt8] {
    Array("BEGIN:VCARD\r\nVERSION:2.1\r\n".utf8) + line + Array("\r\nEND:VCARD\r\n".utf8)
}

/// SplitMix64: the same numbers for the same seed, on every machine.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}
