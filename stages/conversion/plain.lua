-- Makes pandoc write Markdown that says what the document says: no escapes within a line, tables of one line a row, no
-- anchors, of pictures what is said of them. What stands on a title page comes first.

-- The first word of a block stays pandoc's, which escapes what would read as a heading or a list.
local function unescape(inlines)
  for place, each in ipairs(inlines) do
    if place > 1 and each.t == 'Str' and not each.text:find('[|`\\]') then
      inlines[place] = pandoc.RawInline('markdown', each.text)
    end
  end
  return inlines
end

local function flatten(blocks)
  local inlines = pandoc.utils.blocks_to_inlines(blocks, { pandoc.Space() })
  return { pandoc.Plain(inlines:walk({ LineBreak = pandoc.Space, SoftBreak = pandoc.Space })) }
end

local function flatten_table(whole)
  local simple = pandoc.utils.to_simple_table(whole)
  for place, cell in ipairs(simple.headers) do simple.headers[place] = flatten(cell) end
  for _, row in ipairs(simple.rows) do
    for place, cell in ipairs(row) do row[place] = flatten(cell) end
  end
  for place in ipairs(simple.widths) do simple.widths[place] = 0 end
  return pandoc.utils.from_simple_table(simple)
end

local ENDINGS = { st = true, nd = true, rd = true, th = true }  -- of ordinal numbers

local function raise(each)
  if ENDINGS[pandoc.utils.stringify(each.content)] then return each.content end
  return pandoc.Inlines({ pandoc.Str('^') }) .. each.content
end

local function link(each)
  local outside = each.target:find('^https?:') or each.target:find('^mailto:')
  return outside and pandoc.Link(each.content, each.target) or each.content
end

local clean = {
  Div = function(each) return each.content end,
  Span = function(each) return each.content end,
  Image = function(each) return each.caption end,
  Figure = function(each)
    local caption = pandoc.utils.stringify(each.caption.long or {})
    local same = pandoc.utils.stringify(each.content) == caption
    return same and each.caption.long or each.content .. (each.caption.long or {})
  end,
  Link = link,
  Header = function(each) return pandoc.Header(each.level, each.content) end,
  Code = function(each) return pandoc.Code(each.text) end,
  CodeBlock = function(each)
    return pandoc.CodeBlock(each.text, pandoc.Attr('', each.classes[1] and { each.classes[1] } or {}))
  end,
  Subscript = function(each) return each.content end,
  Superscript = raise,
  RawBlock = function() return {} end,
  RawInline = function() return {} end,
  Table = flatten_table,
}

local function front(meta)
  local blocks = pandoc.Blocks({})
  for _, name in ipairs({ 'subtitle', 'author', 'date', 'abstract' }) do
    local value = meta[name]
    for _, each in ipairs(pandoc.utils.type(value) == 'List' and value or { value }) do
      if pandoc.utils.type(each) == 'Blocks' then blocks:extend(each) else blocks:insert(pandoc.Para(each)) end
    end
  end
  return blocks
end

function Pandoc(document)
  local body, meta = document.blocks, document.meta
  if meta.titlepage and meta.title then  -- of .docx, whose title is text of the page
    local deeper = { Header = function(each) return pandoc.Header(each.level + 1, each.content) end }
    body = pandoc.Blocks({ pandoc.Header(1, meta.title) }) .. front(meta) .. body:walk(deeper)
  end
  return pandoc.Pandoc(body:walk(clean):walk({ Inlines = unescape }))
end
