import Database
import Foundation

/// A file format of one record type's own, beside CSV and NDJSON: what it is called, and how its entries are read and
/// written. Both are pure: the file itself comes and goes as it does with every other format.
package struct RecordFormat: Sendable {
    /// The name in options: `vcard`.
    package let name: String
    /// The media type of an export; the first of those under which a file is taken as it is.
    package let contentType: String
    package let mediaTypes: [String]
    /// How a file's name ends, without the dot.
    package let fileExtension: String
    /// A reader of a file from `ImportPlace.start`, or from the end of an entry that was read before.
    package let reader: @Sendable (ImportPlace) -> any RecordFileReader
    /// Appends a record, as JSON of the HTTP surface, as one entry of a file.
    package let write: @Sendable (_ record: [String: JSONValue], _ out: inout [UInt8]) -> Void
    /// What the format calls the field that a JSON pointer leads to, for whoever mends an entry.
    package let property: @Sendable (_ pointer: String) -> String

    package init(
        name: String, mediaTypes: [String], fileExtension: String,
        reader: @escaping @Sendable (ImportPlace) -> any RecordFileReader,
        write: @escaping @Sendable ([String: JSONValue], inout [UInt8]) -> Void,
        property: @escaping @Sendable (String) -> String
    ) {
        precondition(!mediaTypes.isEmpty, "\(name) has no media type")
        self.name = name
        contentType = "\(mediaTypes[0]); charset=utf-8"
        self.mediaTypes = mediaTypes
        self.fileExtension = fileExtension
        self.reader = reader
        self.write = write
        self.property = property
    }
}

/// A place between two entries of a file, at which reading can begin.
package struct ImportPlace: Sendable {
    /// Bytes before it.
    package let offset: Int
    /// Entries before it, wrong ones included.
    package let entries: Int
    /// Lines before it.
    package let lines: Int

    package init(offset: Int, entries: Int, lines: Int) {
        self.offset = offset
        self.entries = entries
        self.lines = lines
    }

    /// Before the first entry.
    package static let start = ImportPlace(offset: 0, entries: 0, lines: 0)
}

/// Splits a file into entries as its bytes arrive, holding one entry at most. The same bytes give the same entries in
/// any pieces.
package protocol RecordFileReader: Sendable {
    /// Feeds bytes and gives the entries that they complete.
    mutating func feed(_ bytes: ArraySlice<UInt8>) -> [RecordFileEntry]
    /// The last entries, once all bytes were fed.
    mutating func finish() -> [RecordFileEntry]
}

/// One entry of a file: a record, or why it is none.
package struct RecordFileEntry: Sendable {
    /// Something in an entry that no field can take, told to whoever sent the file.
    package struct Unplaced: Sendable {
        package let property: String
        package let message: String

        package init(property: String, message: String) {
            self.property = property
            self.message = message
        }
    }

    /// Counts from 1.
    package let number: Int
    /// Right behind it.
    package let place: ImportPlace
    /// The record as a creation takes it; empty beside an error.
    package var record: [String: JSONValue]
    package var unplaced: [Unplaced]
    /// Records of other types that the entry knows by name alone, by the field that refers to them. They are looked up;
    /// one that is not there is left out and told.
    package var named: [String: String]
    package var error: (code: String, message: String)?

    package init(
        number: Int, place: ImportPlace, record: [String: JSONValue] = [:], unplaced: [Unplaced] = [],
        named: [String: String] = [:], error: (code: String, message: String)? = nil
    ) {
        self.number = number
        self.place = place
        self.record = record
        self.unplaced = unplaced
        self.named = named
        self.error = error
    }
}

/// How a file of records is written.
package enum FileFormat: Sendable {
    /// RFC 4180 with a header row.
    case csv
    /// A JSON object a line.
    case ndjson
    /// The record type's own.
    case own(RecordFormat)

    /// The format of that name for records of `type`; nil when there is none.
    package init?(_ name: String, of type: RecordType?) {
        switch name {
        case "csv": self = .csv
        case "ndjson": self = .ndjson
        default:
            guard let own = type?.format, own.name == name else { return nil }
            self = .own(own)
        }
    }

    /// Those that records of any type have.
    package static let general = ["csv", "ndjson"]

    /// The formats of `type`, for people.
    package static func names(of type: RecordType?) -> [String] { general + [type?.format?.name].compactMap { $0 } }

    package var name: String {
        switch self {
        case .csv: "csv"
        case .ndjson: "ndjson"
        case .own(let format): format.name
        }
    }

    /// The media type of an exported file.
    package var contentType: String {
        switch self {
        case .csv: "text/csv; charset=utf-8"
        case .ndjson: "application/x-ndjson"
        case .own(let format): format.contentType
        }
    }

    /// How an exported file's name ends.
    package var fileExtension: String { own?.fileExtension ?? name }

    /// The type's own format, where it is that.
    package var own: RecordFormat? { if case .own(let format) = self { format } else { nil } }
    package var isCSV: Bool { if case .csv = self { true } else { false } }
}
