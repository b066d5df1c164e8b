import Redis

extension QueueScripts {
    /// Sets the epoch and gives the one before.
    static let setEpoch = RedisScript(
        prelude + """
            local before = shard.epoch
            shard.epoch = tonumber(ARGV[1])
            save()
            ring()
            return before
            """)

    /// Pauses (1) or resumes (0) fetching.
    static let setPaused = RedisScript(
        prelude + """
            shard.paused = tonumber(ARGV[1])
            save()
            if shard.paused == 0 then ring() end
            return shard.paused
            """)

    /// Sets tenants' shares. Arguments: 1 where these are all that there are, and every other tenant has the usual again;
    /// then per tenant its id, weight, cap on concurrently running jobs (0: the usual), starts per second (0: any number),
    /// burst, 1 where nothing of it may run.
    static let setShares = RedisScript(
        prelude + """
            local function set(id, weight, cap, rate, burst, held)
                local s = tenantState(id)
                s.weight, s.cap = weight, cap
                if rate ~= s.rate or burst ~= s.burst then
                    -- A new bucket is full once; a changed one keeps what it holds.
                    s.tokens = s.rate == 0 and burst or math.min(s.tokens, burst)
                    s.filled = now
                end
                s.rate, s.burst, s.held = rate, burst, held
                touch(id)
                redis.call('ZREM', P .. 'park', id)
                if runnable(s) then activate(id) else redis.call('ZREM', P .. 'act', id) end
            end
            local named = {}
            for i = 2, #ARGV, 6 do
                local id = ARGV[i]
                named[id] = true
                redis.call('SADD', P .. 'sh', id)
                set(id, tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4]),
                    ARGV[i + 5] == '1')
            end
            if ARGV[1] == '1' then
                for _, id in ipairs(redis.call('SMEMBERS', P .. 'sh')) do
                    if not named[id] then
                        set(id, 1, 0, 0, 0, false)
                        redis.call('SREM', P .. 'sh', id)
                    end
                end
            end
            save()
            ring()
            return 1
            """)

    /// Marks a job as cancelled: dropped when it is next fetched, or cancelled by the worker that runs it. Arguments: id,
    /// `1` for one that Redis keeps no list of (an ephemeral job). Gives 0 where the job is not known.
    static let cancel = RedisScript(
        prelude + """
            local id = ARGV[1]
            if redis.call('ZSCORE', P .. 'd', id) then
                undelay(id)
                redis.call('SREM', P .. 'u', id)
                save()
                return 1
            end
            if ARGV[2] ~= '1' and redis.call('SISMEMBER', P .. 'u', id) == 0 then return 0 end
            redis.call('ZADD', P .. 'cx', now, id)
            return 1
            """)

    /// Forgets all of one tenant that waits here: it is being erased. Argument: tenant. Gives how many jobs went. What
    /// runs, ends by itself.
    static let forgetTenant = RedisScript(
        prelude + """
            local id = ARGV[1]
            local s = tenantState(id)
            local went = 0
            for p = 0, 2 do
                local list = P .. 'r:' .. id .. ':' .. p
                for _, blob in ipairs(redis.call('LRANGE', list, 0, 4999)) do
                    forget(jobID(blob))
                    went = went + 1
                end
                redis.call('LTRIM', list, 5000, -1)
                s.w[p + 1] = redis.call('LLEN', list)
            end
            for _, set in ipairs({'dj', 'xj'}) do
                local cursor = '0'
                repeat
                    local page = redis.call('HSCAN', P .. set, cursor, 'COUNT', 500)
                    cursor = page[1]
                    for i = 1, #page[2], 2 do
                        if tenantOf(page[2][i + 1]) == id then
                            if set == 'dj' then undelay(page[2][i]) else redis.call('HDEL', P .. set, page[2][i]) end
                            redis.call('ZREM', P .. 'x', page[2][i])
                            forget(page[2][i])
                            went = went + 1
                        end
                    end
                until cursor == '0'
            end
            if waiting(s) == 0 then
                redis.call('ZREM', P .. 'act', id)
                redis.call('ZREM', P .. 'park', id)
                local running = s.running
                states[id] = newTenant()
                states[id].running = running
            end
            touch(id)
            save()
            return went
            """)
}
