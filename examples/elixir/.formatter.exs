[
  inputs: ["{mix,.formatter}.exs", "*.exs", "{lib,test}/**/*.{ex,exs}"],
  line_length: 110,
  locals_without_parens: [field: 2, field: 3],
  export: [locals_without_parens: [field: 2, field: 3]]
]
