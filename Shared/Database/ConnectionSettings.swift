/// Where the database is and how a connection behaves.
package struct ConnectionSettings: Sendable {
    /// A libpq connection string (`host=… dbname=…` or a URI). TLS is libpq's own: `sslmode`, `sslrootcert` and so on.
    package var connection: String
    /// How PostgreSQL's `pg_stat_activity` names this process.
    package var applicationName: String
    /// Seconds after which a statement is cancelled by the server; 0 for never.
    package var statementTimeout: Int
    /// Seconds after which the server ends a transaction that its client left open: a stopped worker must not hold
    /// its locks, and its claim on a job, for ever.
    package var idleInTransactionTimeout: Int
    /// Plan once for all parameter values. Right while partitions are few (design: measurements), wrong with hundreds.
    package var genericPlans: Bool

    package init(
        connection: String, applicationName: String = "guanxi", statementTimeout: Int = 30,
        idleInTransactionTimeout: Int = 20, genericPlans: Bool = true
    ) {
        self.connection = connection
        self.applicationName = applicationName
        self.statementTimeout = statementTimeout
        self.idleInTransactionTimeout = idleInTransactionTimeout
        self.genericPlans = genericPlans
    }

    /// The connection string with our session settings added.
    ///
    /// Through PgBouncer in transaction mode `options` is refused unless listed in `ignore_startup_parameters`; the
    /// same settings can then be given to the role by ALTER ROLE.
    var conninfo: String {
        let options = [
            "-c statement_timeout=\(statementTimeout)s",
            "-c idle_in_transaction_session_timeout=\(idleInTransactionTimeout)s",
            "-c TimeZone=UTC", "-c DateStyle=ISO,YMD", "-c IntervalStyle=iso_8601", "-c bytea_output=hex",
            "-c extra_float_digits=1",
            // Compiling a plan costs more than any of our statements takes, and enable_seqscan=off makes the planner
            // think every other plan expensive enough for it.
            "-c jit=off",
            genericPlans ? "-c plan_cache_mode=force_generic_plan" : "",
            // A page is for one of many who ask at once: other processes for it would take their turns.
            "-c max_parallel_workers_per_gather=0",
            // Every statement names its tenant and every index begins with it. A plan that was made while a table was
            // still empty must not go on reading all of it for ever.
            genericPlans ? "-c enable_seqscan=off" : "",
        ].filter { !$0.isEmpty }.joined(separator: " ")
        let extra = [
            ("application_name", applicationName), ("client_encoding", "UTF8"), ("connect_timeout", "5"),
            ("keepalives_idle", "30"), ("options", options),
        ]
        if connection.hasPrefix("postgresql://") || connection.hasPrefix("postgres://") {
            let query = extra.map { "\($0.0)=\(percentEncoded($0.1))" }.joined(separator: "&")
            return connection + (connection.contains("?") ? "&" : "?") + query
        }
        return extra.reduce(connection) { "\($0) \($1.0)='\($1.1)'" }
    }

    private func percentEncoded(_ text: String) -> String {
        text.utf8.map { byte in
            let isPlain = (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte)
            return isPlain ? String(UnicodeScalar(byte)) : "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16)
        }.joined()
    }
}
