-- Merges an update into a batch, as plans.py does under WATCH, for a batch so contended that WATCH lost.
-- One script, since a plain write in its place would lose what others wrote in between.
--
-- KEYS  the batch's summary, counts, index, expected, outcomes, registrations (keys.batch_keys); the queue;
--       what waits in it
-- ARGV  1 the update (codec.encode_update)    2 now      3 TTL in seconds   4 prefix of essay documents
--       5 'difference', 'whole' or 'partial'  6 payload of the queue entry, '' for none
--       7 the run of the server
-- Returns the id of the queue entry, '' when there is none, or nil when the batch is not any more what a
-- difference can be added to: it was read before, and may have lost something since.
local summary, counts, index, expected, outcomes, registrations, queue, waiting = unpack(KEYS)
local update, now, ttl, prefix, mode = cjson.decode(ARGV[1]), ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local RANK = { completed = 0, pending = 1, failed = 2 }
local SEVERITY = { confirms = 0, partial = 1, refutes = 2 }

local function is_intact()
  local noted = redis.call('HMGET', summary, 'whole', 'life', 'essays', 'expected', 'outcomes', 'registrations')
  local sizes = {
    redis.call('SCARD', index), redis.call('SCARD', expected),
    redis.call('HLEN', outcomes), redis.call('HLEN', registrations),
  }
  for i, size in ipairs(sizes) do
    if noted[i + 2] ~= tostring(size) then
      return false
    end
  end
  for _, item in ipairs(update.evidence) do
    if redis.call('EXISTS', prefix .. item.essay) ~= redis.call('SISMEMBER', index, item.essay) then
      return false
    end
  end
  return noted[1] == '1' and (ARGV[7] == '' or noted[2] == ARGV[7])
end

if mode == 'difference' and not is_intact() then
  return nil
end

local function is_less(one, other) -- by bytes: Lua's own order follows the server's locale
  for i = 1, math.min(#one, #other) do
    local a, b = one:byte(i), other:byte(i)
    if a ~= b then
      return a < b
    end
  end
  return #one < #other
end

local function is_before(one, other) -- the order of domain.merging
  if one.at ~= other.at then
    return is_less(one.at, other.at)
  elseif one.status ~= other.status then
    return RANK[one.status] < RANK[other.status]
  end
  return is_less(one.storage_id or '', other.storage_id or '')
end

local function effective(sources)
  local observed, report = sources[''], nil
  for source, said in pairs(sources) do
    if source ~= '' and (not report or is_before(report, said)) then
      report = said
    end
  end
  if observed and report and report.status ~= 'completed' and not is_less(report.at, observed.at) then
    return report
  end
  return observed or report
end

local function standing_status(sources, refuted_at)
  local status = effective(sources).status
  if status ~= 'completed' or not refuted_at then
    return status
  end
  for _, said in pairs(sources) do
    if said.status == status and is_less(refuted_at, said.at) then
      return status
    end
  end
  return 'pending'
end

local function storage_id(sources)
  local holds, found = effective(sources), nil
  if holds.status ~= 'completed' then
    return cjson.null
  end
  for _, said in pairs(sources) do
    if said.storage_id and (not found or is_before(found, said)) then
      found = said
    end
  end
  return holds.storage_id or (found and found.storage_id) or cjson.null
end

local function read_document(essay) -- one of an earlier version is in the update already
  local text = redis.call('GET', prefix .. essay)
  local is_read, document = pcall(cjson.decode, text or '{}')
  local steps = {}
  if is_read and type(document.step_metadata) == 'table' then
    for step, known in pairs(document.step_metadata) do
      steps[step] = type(known) == 'table' and known.sources or nil
    end
  end
  return { steps = steps, created_at = is_read and document.created_at or nil, was_there = text }
end

local function write_document(essay, document)
  local completed, metadata = {}, {}
  for step, sources in pairs(document.steps) do
    local holds = effective(sources)
    if holds.status == 'completed' then
      completed[#completed + 1] = step
    end
    metadata[step] = {
      status = holds.status, timestamp = holds.at, storage_id = storage_id(sources), sources = sources,
    }
  end
  table.sort(completed)
  local text = string.format(
    '{"essay_id":%s,"batch_id":%s,"completed_steps":%s,"step_metadata":%s,"created_at":%s,"last_updated":%s}',
    cjson.encode(essay), cjson.encode(update.batch_id),
    #completed == 0 and '[]' or cjson.encode(completed), cjson.encode(metadata),
    cjson.encode(document.created_at or now), cjson.encode(now))
  redis.call('SET', prefix .. essay, text, 'EX', ttl)
end

local function count(fields, document, by, is_new)
  for step, sources in pairs(document.steps) do
    local status = standing_status(sources, fields['refuted_at:' .. step])
    if status ~= 'pending' then
      local field = status .. ':' .. step
      fields[field] = (fields[field] or 0) + by
    end
    if is_new and sources[''] then
      local field = 'observed_at:' .. step
      if is_less(fields[field] or '', sources[''].at) then
        fields[field] = sources[''].at
      end
    end
  end
end

-- The summary's fields: kept when counting by difference, made anew otherwise.
local recount = mode ~= 'difference'
local fields, known = {}, redis.call('HGETALL', summary)
for i = 1, #known, 2 do
  local is_count = known[i]:find('^completed:') or known[i]:find('^failed:')
  if not recount or not known[i]:find(':') then
    fields[known[i]] = is_count and tonumber(known[i + 1]) or known[i + 1]
  end
end

-- Registrations first: they say whose documents count.
local latest
for _, new in ipairs(update.registrations) do
  local text = redis.call('HGET', registrations, new.fingerprint)
  local old = text and cjson.decode(text)
  if not old or is_less(new.at, old.at) then
    redis.call('HSET', registrations, new.fingerprint, cjson.encode(new))
  end
end
for _, text in ipairs(recount and redis.call('HVALS', registrations) or {}) do
  local one = cjson.decode(text)
  local is_later = not latest or is_less(latest.at, one.at)
  if latest and latest.at == one.at then
    is_later = latest.total < one.total
      or latest.total == one.total and is_less(latest.fingerprint, one.fingerprint)
  end
  latest = is_later and one or latest
end
if latest then
  fields.registered_total = tostring(latest.total)
  redis.call('DEL', expected)
  for _, essay in ipairs(latest.essay_ids or {}) do
    redis.call('SADD', expected, essay)
  end
end
local counts_all = redis.call('SCARD', expected) == 0
local function is_counted(essay)
  return counts_all or redis.call('SISMEMBER', expected, essay) == 1
end

-- Outcomes: of copies the earliest, of a step the latest that says more than a number.
for _, new in ipairs(update.outcomes) do
  local field = new.step .. ' ' .. new.fingerprint
  local text = redis.call('HGET', outcomes, field)
  local old = text and cjson.decode(text)
  if not old or is_less(new.at, old.at) then
    redis.call('HSET', outcomes, field, cjson.encode(new))
  end
end
local best, steps, reported = {}, {}, 0
for _, text in ipairs(redis.call('HVALS', outcomes)) do
  local one = cjson.decode(text)
  steps[one.step], reported = true, math.max(reported, one.total)
  local old = best[one.step]
  if one.verdict ~= 'reports' then
    local is_later = not old or is_less(old.at, one.at)
    if old and old.at == one.at then
      is_later = SEVERITY[old.verdict] < SEVERITY[one.verdict]
        or old.verdict == one.verdict and is_less(old.fingerprint, one.fingerprint)
    end
    best[one.step] = is_later and one or old
  end
  local field = 'refuted_at:' .. one.step
  if one.verdict == 'refutes' and is_less(fields[field] or '', one.at) then
    fields[field] = one.at
  end
end
for step, outcome in pairs(best) do
  fields['outcome:' .. step] = cjson.encode(outcome)
end
fields.reported_total = reported > 0 and tostring(reported) or ''

-- Evidence, document by document.
local documents = {}
for _, item in ipairs(update.evidence) do
  local document = documents[item.essay]
  if not document then
    document = read_document(item.essay)
    documents[item.essay] = document
    if not recount and is_counted(item.essay) then
      count(fields, document, -1, false)
    end
  end
  steps[item.step] = true
  local sources = document.steps[item.step] or {}
  local old, new = sources[item.source], { status = item.status, at = item.at, storage_id = item.storage_id }
  local takes = not old or item.source == '' and is_before(old, new)
  if takes or old and item.source ~= '' and is_less(new.at, old.at) then
    sources[item.source] = new
  end
  document.steps[item.step] = sources
end
for essay, document in pairs(documents) do
  write_document(essay, document)
  redis.call('SADD', index, essay)
  if not recount and is_counted(essay) then
    count(fields, document, 1, true)
  end
end
if recount then
  for _, essay in ipairs(redis.call('SMEMBERS', index)) do
    local document = documents[essay] or read_document(essay)
    if not document.was_there and not documents[essay] then
      redis.call('SREM', index, essay)
    end
    for step in pairs(document.steps) do
      steps[step] = true
    end
    if is_counted(essay) then
      count(fields, document, 1, true)
    end
  end
end

for step in pairs(steps) do
  for _, name in ipairs({ 'completed:', 'failed:' }) do
    fields[name .. step] = fields[name .. step] or 0
  end
end
if mode ~= 'difference' then
  fields.whole = mode == 'whole' and '1' or '0'
  fields.life = ARGV[7]
end
fields.essays = redis.call('SCARD', index)
fields.expected = redis.call('SCARD', expected)
fields.outcomes = redis.call('HLEN', outcomes)
fields.registrations = redis.call('HLEN', registrations)

redis.call('DEL', summary, counts)
for field, value in pairs(fields) do
  redis.call('HSET', summary, field, tostring(value))
  local step = field:match('^completed:(.*)$')
  if step then
    redis.call('HSET', counts, step, tostring(value))
  end
end
for i = 1, 6 do
  redis.call('EXPIRE', KEYS[i], ttl)
end
if ARGV[6] == '' then
  return ''
end
redis.call('HINCRBY', waiting, update.batch_id, 1)
redis.call('HINCRBY', waiting, '*', 1) -- of all batches
return redis.call('XADD', queue, '*', 'batch', update.batch_id, 'update', ARGV[6])
