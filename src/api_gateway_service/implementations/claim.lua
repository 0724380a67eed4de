-- Begins a request unless it was made, is being made, or another has its id.
--
-- KEYS[1]: the hash of the request
-- ARGV: fingerprint, correlation id, time of the first try, milliseconds that a try may take,
--       seconds for which the hash is kept, token of this claim: the same one again, whose reply
--       was lost, has the same answer
-- Returns: outcome, correlation id and time of the first try
--
-- Atomic, for two that look before either has written would both begin. Times are the server's:
-- replicas' clocks differ.
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
local known = redis.call('HMGET', KEYS[1], 'fingerprint', 'correlation_id', 'accepted_at', 'state', 'until',
    'claim')

if not known[1] then
    redis.call('HSET', KEYS[1], 'fingerprint', ARGV[1], 'correlation_id', ARGV[2],
        'accepted_at', ARGV[3], 'state', 'begun', 'until', now_ms + ARGV[4], 'claim', ARGV[6])
    redis.call('EXPIRE', KEYS[1], ARGV[5])
    return {'begun', ARGV[2], ARGV[3]}
end
if known[1] ~= ARGV[1] then
    return {'reused', known[2], known[3]}
end
if known[4] == 'made' then
    return {'made', known[2], known[3]}
end
if tonumber(known[5]) > now_ms and known[6] ~= ARGV[6] then
    return {'in_flight', known[2], known[3]}
end
redis.call('HSET', KEYS[1], 'until', now_ms + ARGV[4], 'claim', ARGV[6])
return {'begun', known[2], known[3]}
