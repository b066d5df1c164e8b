import CSodium
import Database
import Foundation

/// A line of an export begins with a check of the rest, so that a damaged one can be named.
enum LineCheck {
    /// `{"_check":"01234567",` takes the place of the object's first brace.
    static let length = 21
    private static let opening = Array(#"{"_check":""#.utf8)
    private static let closing = Array(#"","#.utf8)
    private static let digits = Array("0123456789abcdef".utf8)

    /// Where the line that begins at `start` ends; nil when its end is not there yet.
    static func end(of start: Int, in bytes: UnsafeRawBufferPointer) -> Int? {
        guard start < bytes.count, let base = bytes.baseAddress,
            let end = memchr(base + start, Int32(UInt8(ascii: "\n")), bytes.count - start)
        else { return nil }
        return UnsafeRawPointer(end) - base
    }

    /// The beginning of a line whose object goes on with `rest`.
    static func prefix(of rest: UnsafeRawBufferPointer) -> [UInt8] {
        var digest: (UInt64, UInt64) = (0, 0)
        let sum = withUnsafeMutableBytes(of: &digest) { out -> [UInt8] in
            _ = crypto_generichash(
                out.baseAddress!, 16, rest.baseAddress?.assumingMemoryBound(to: UInt8.self), UInt64(rest.count), nil, 0)
            return (0..<4).flatMap { [digits[Int(out[$0] >> 4)], digits[Int(out[$0] & 15)]] }
        }
        return opening + sum + closing
    }
}

/// Writes the lines of one table.
actor LineWriter {
    private let handle: FileHandle
    private var digest = SHA256Stream()
    private(set) var rows = 0
    private(set) var bytes = 0

    /// Makes the file, which only its owner can read: it holds people's data.
    init(_ file: URL) throws {
        guard FileManager.default.createFile(atPath: file.path, contents: nil, attributes: [.posixPermissions: 0o600])
        else { throw TenantWorkError.refused("\(file.path) can't be written") }
        handle = try FileHandle(forWritingTo: file)
    }

    /// Takes whole lines as PostgreSQL gives them.
    func write(_ lines: [UInt8]) throws {
        var out: [UInt8] = []
        out.reserveCapacity(lines.count + lines.count / 4)
        lines.withUnsafeBytes { lines in
            var start = 0
            while start < lines.count {
                let end = LineCheck.end(of: start, in: lines) ?? lines.count
                let rest = UnsafeRawBufferPointer(rebasing: lines[(start + 1)..<end])
                out += LineCheck.prefix(of: rest)
                out.append(contentsOf: rest)
                out.append(UInt8(ascii: "\n"))
                rows += 1
                start = end + 1
            }
        }
        bytes += out.count
        digest.update(out)
        try handle.write(contentsOf: out)
    }

    /// The file is whole and on the disk.
    func finish(_ name: String, columns: [String]) throws -> TenantManifest.Table {
        try handle.synchronize()
        try handle.close()
        return TenantManifest.Table(name: name, columns: columns, rows: rows, bytes: bytes, sha256: digest.finish())
    }
}

/// The lines of one table's file, without their checks, in chunks of whole lines. Throws `.damaged` at the first line that
/// is not what was written, and at the end of a file that as a whole is not.
struct CheckedLines: AsyncSequence, Sendable {
    typealias Element = [UInt8]
    let directory: URL
    let table: TenantManifest.Table

    struct AsyncIterator: AsyncIteratorProtocol {
        private let table: TenantManifest.Table
        private let handle: FileHandle?
        private var digest = SHA256Stream()
        private var rest: [UInt8] = []
        private var line = 0
        private var isOver = false

        init(_ lines: CheckedLines) {
            table = lines.table
            handle = try? FileHandle(forReadingFrom: lines.directory.appending(path: lines.table.file))
        }

        mutating func next() async throws -> [UInt8]? {
            guard let handle else { throw damaged(nil, "is missing") }
            while !isOver {
                guard let data = try handle.read(upToCount: 1 << 18), !data.isEmpty else {
                    isOver = true
                    try close()
                    return nil
                }
                digest.update(data)
                rest.append(contentsOf: data)
                let lines = try take()
                if !lines.isEmpty { return lines }
            }
            return nil
        }

        /// The whole lines of what was read.
        private mutating func take() throws -> [UInt8] {
            var out: [UInt8] = []
            out.reserveCapacity(rest.count)
            var start = 0
            var fault: String?
            rest.withUnsafeBytes { bytes in
                while fault == nil, let end = LineCheck.end(of: start, in: bytes) {
                    line += 1
                    fault = Self.check(UnsafeRawBufferPointer(rebasing: bytes[start..<end]), into: &out)
                    start = end + 1
                }
            }
            if let fault { throw damaged(line, fault) }
            rest.removeFirst(start)
            return out
        }

        private static func check(_ line: UnsafeRawBufferPointer, into out: inout [UInt8]) -> String? {
            guard line.count > LineCheck.length else { return "is cut off" }
            let content = UnsafeRawBufferPointer(rebasing: line[LineCheck.length...])
            guard line.prefix(LineCheck.length).elementsEqual(LineCheck.prefix(of: content)) else {
                return "is not what was exported"
            }
            out.append(UInt8(ascii: "{"))
            out.append(contentsOf: content)
            out.append(UInt8(ascii: "\n"))
            return nil
        }

        private mutating func close() throws {
            try? handle?.close()
            if !rest.isEmpty { throw damaged(line + 1, "is cut off") }
            if line != table.rows { throw damaged(line, "is the last; the manifest says \(table.rows) lines") }
            if digest.finish() != table.sha256 {
                throw damaged(
                    nil, "its lines are whole, but not the manifest's: some are in another order, or another's")
            }
        }

        private func damaged(_ line: Int?, _ what: String) -> TenantWorkError {
            .damaged(file: table.file, line: line, what: what)
        }
    }

    func makeAsyncIterator() -> AsyncIterator { AsyncIterator(self) }

    /// Reads all of it.
    func verify() async throws {
        for try await _ in self {}
    }
}
