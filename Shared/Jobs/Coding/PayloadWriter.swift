import Foundation

/// JSON text in the making: which objects and arrays are open, and where the next value goes.
///
/// Written straight through, without a tree in between. So what was begun within something ends before that goes on: a
/// container that is written to after its end is a mistake of the value's `encode(to:)`, kept in `failure`, since
/// `Encoder` has calls that can't throw.
final class PayloadWriter {
    enum Kind { case object, array }

    /// An open object or array. `serial` tells it from another at the same depth later.
    private struct Frame {
        let kind: Kind
        let serial: Int
        var count = 0
    }

    private(set) var bytes: [UInt8] = []
    private(set) var failure: EncodingError?
    private var frames: [Frame] = []
    private var opened = 0
    /// Whether a value can be written here: at the beginning, after a name, after an element was announced.
    private(set) var isDue = true

    init() { bytes.reserveCapacity(256) }

    /// How many objects and arrays are open.
    var depth: Int { frames.count }

    /// Names an object or array that is open, for as long as it is.
    struct Place {
        fileprivate let depth: Int
        fileprivate let serial: Int
    }

    /// Opens an object or array where a value is due, or goes on with the one that stands there already: a class and the
    /// one it inherits from write into the same.
    func open(_ kind: Kind, at depth: Int) -> Place {
        if isDue {
            isDue = false
            bytes.append(kind == .object ? UInt8(ascii: "{") : UInt8(ascii: "["))
            opened += 1
            frames.append(Frame(kind: kind, serial: opened))
        } else if depth >= frames.count || frames[depth].kind != kind {
            fail("two values where one belongs")
            return Place(depth: depth, serial: -1)
        }
        return Place(depth: depth, serial: frames[min(depth, frames.count - 1)].serial)
    }

    /// Ends whatever is open beyond `depth`.
    func close(to depth: Int) {
        while frames.count > depth {
            bytes.append(frames.removeLast().kind == .object ? UInt8(ascii: "}") : UInt8(ascii: "]"))
        }
    }

    /// Announces an object's next member.
    func member(_ name: String, of place: Place) {
        guard resume(place) else { return }
        string(name)
        bytes.append(UInt8(ascii: ":"))
        isDue = true
    }

    /// Announces an array's next element.
    func element(of place: Place) {
        if resume(place) { isDue = true }
    }

    func count(of place: Place) -> Int {
        place.depth < frames.count && frames[place.depth].serial == place.serial ? frames[place.depth].count : 0
    }

    private func resume(_ place: Place) -> Bool {
        close(to: place.depth + 1)
        guard !isDue, place.depth < frames.count, frames[place.depth].serial == place.serial else {
            fail("a container that has ended is written to")
            return false
        }
        if frames[place.depth].count > 0 { bytes.append(UInt8(ascii: ",")) }
        frames[place.depth].count += 1
        return true
    }

    // MARK: Values

    /// Takes the place of the value that is due.
    func begin() {
        if !isDue { fail("two values where one belongs") }
        isDue = false
    }

    /// Writes what is ASCII and needs no quotes.
    func literal(_ text: String) {
        begin()
        bytes.append(contentsOf: text.utf8)
    }

    func number(_ value: Double) {
        guard value.isFinite else { return fail("\(value) is no number of JSON") }
        // As Foundation writes it: a whole number has no fraction, so that it is read as an integer too.
        literal(value.description.hasSuffix(".0") ? String(value.description.dropLast(2)) : value.description)
    }

    func number(_ value: Float) {
        guard value.isFinite else { return fail("\(value) is no number of JSON") }
        literal(value.description.hasSuffix(".0") ? String(value.description.dropLast(2)) : value.description)
    }

    func text(_ value: String) {
        begin()
        string(value)
    }

    private func string(_ value: String) {
        var value = value
        bytes.append(UInt8(ascii: "\""))
        value.withUTF8 { utf8 in
            // Most text has nothing to escape.
            guard utf8.contains(where: { $0 < 0x20 || $0 == UInt8(ascii: "\"") || $0 == UInt8(ascii: "\\") }) else {
                return bytes.append(contentsOf: utf8)
            }
            for byte in utf8 {
                switch byte {
                case UInt8(ascii: "\""), UInt8(ascii: "\\"): bytes += [UInt8(ascii: "\\"), byte]
                case UInt8(ascii: "\n"): bytes += Array("\\n".utf8)
                case 0..<0x20:
                    let digits = Array("0123456789abcdef".utf8)
                    bytes += Array("\\u00".utf8) + [digits[Int(byte >> 4)], digits[Int(byte & 15)]]
                default: bytes.append(byte)
                }
            }
        }
        bytes.append(UInt8(ascii: "\""))
    }

    func fail(_ text: String) {
        if failure == nil {
            failure = .invalidValue(text, EncodingError.Context(codingPath: [], debugDescription: text))
        }
    }
}
