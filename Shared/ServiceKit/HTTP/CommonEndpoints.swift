import Records
import Tenancy

/// What every service answers besides its records: imports, jobs, sessions, who am I.
struct CommonEndpoints: Sendable {
    let store: RecordStore
    let signIn: SignIn
    let limiter = RateLimiter()
    var schema: String { store.outbox.schema }

    init(store: RecordStore, signIn: SignIn) {
        self.store = store
        self.signIn = signIn
    }

    var all: [Endpoint] {
        var endpoints = [job, cancelJob, me, openSession, closeSession, changeSet, undo, verifyHistory]
        if !store.catalogue.importable.isEmpty {
            endpoints += [createImport, importErrors]
        }
        if !store.catalogue.types.isEmpty { endpoints += [createExport, exportFile] }
        if store.catalogue.types.contains(where: { !$0.searchFields.isEmpty }) { endpoints.append(search) }
        return endpoints
    }
}
