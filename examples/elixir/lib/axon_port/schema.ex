defmodule AxonPort.Schema do
  @moduledoc """
  Types as data, and what they are to a model: JSON Schema on the way out, Elixir values on the way back.

  A struct with a schema is declared as Ecto's are:

      defmodule Shop.Order do
        @moduledoc "An order of the shop."
        use AxonPort.Schema

        schema do
          field :number, :integer, minimum: 1
          field :state, {:enum, [:open, :shipped]}
          field :lines, [Shop.Line], min_items: 1
          field :due, Date, optional: true
          field :currency, :string, default: "EUR"
        end
      end

  This defines the struct (required fields are enforced), its `t:t/0`, and the schema that the model gets; the first
  paragraph of the `@moduledoc` and each field's `description` are for the model to read. An agent whose `output` is
  `Shop.Order` answers with a `%Shop.Order{}`.

  ## Types

  | notation | JSON | cast to |
  | --- | --- | --- |
  | `:string`, `:integer`, `:number`, `:boolean` | the same | itself |
  | `:float` | number | a float |
  | `nil` | null | `nil` |
  | `:any`, `:map`, `:list` | anything, any object, any array | itself |
  | `Date`, `Time`, `DateTime`, `NaiveDateTime` | string with a format | the struct |
  | `[type]` or `{:list, type}` | array | a list |
  | `{:map, type}` | object with values of that type | a map with texts as keys |
  | `{:tuple, [type, …]}` | array of that length | a tuple |
  | `%{name: type, optional(:other) => type}` | closed object | a map with atoms as keys |
  | a module with a schema | closed object | its struct |
  | `{:enum, [value, …]}` | one of the values; atoms go as texts | the value, atoms as atoms |
  | `{:nullable, type}` | that type or null | its value or `nil` |
  | `{:union, [type, …]}` | any of them | what the first that fits makes |
  | `{type, description: "…", minimum: 1, …}` | the type with annotations | the type's value |
  | `{:json_schema, map}` (or a boolean), or a map with texts as keys | taken as it stands | itself |

  The annotations are JSON Schema's, in Elixir's spelling: `description`, `title`, `examples`, `format`, `minimum`,
  `maximum`, `exclusive_minimum`, `exclusive_maximum`, `multiple_of`, `min_length`, `max_length`, `pattern` (a text or a
  regex), `min_items`, `max_items`, `unique_items`, `min_properties`, `max_properties`.

  Those who would rather write a typespec can, with `type/1`:

      type(%{city: String.t(), optional(:days) => pos_integer(), unit: :celsius | :fahrenheit})

  Schemas may be recursive: `field :children, [__MODULE__]`. A JSON Schema given as it stands may refer to itself only
  where it is the whole type.
  """

  alias AxonPort.Schema.{Caster, Field, Type, Typespec, Writer}

  @doc "The fields of a struct with a schema, as the module declared them."
  @callback __axon_port_schema__(:fields | :description) :: [Field.t()] | String.t() | nil

  defmacro __using__(_options) do
    quote do
      @behaviour AxonPort.Schema
      require AxonPort.Schema.Typespec
      import AxonPort.Schema, only: [schema: 1, field: 2, field: 3, type: 1, optional: 1]
    end
  end

  @doc "Declares the struct of this module, its type and its schema by the fields in the block."
  defmacro schema(do: block) do
    quote do
      Module.register_attribute(__MODULE__, :axon_port_fields, accumulate: true)
      unquote(block)

      @axon_port_schema AxonPort.Schema.declared(@axon_port_fields, @moduledoc)
      @enforce_keys AxonPort.Schema.enforced(@axon_port_schema.fields)
      defstruct AxonPort.Schema.defaults(@axon_port_schema.fields)

      AxonPort.Schema.Typespec.define_t(@axon_port_schema.fields)

      @doc false
      @impl AxonPort.Schema
      def __axon_port_schema__(part), do: Map.fetch!(@axon_port_schema, part)
    end
  end

  @doc """
  Declares a field of the struct: its name, its type and, as options, `optional: true` or a `default`, and annotations.

  An optional field may be missing in the JSON and is `nil` then. Raises `ArgumentError` while compiling if the type or
  an option is none.
  """
  defmacro field(name, type, options \\ []) do
    quote do
      @axon_port_fields AxonPort.Schema.Type.field!(unquote(name), unquote(type), unquote(options))
    end
  end

  @doc "Marks the key of a map type as one that may be missing: `%{optional(:days) => :integer}`."
  @spec optional(atom) :: {:optional, atom}
  def optional(key) when is_atom(key), do: {:optional, key}

  @doc """
  The type that a typespec stands for: `type([%{name: String.t(), optional(:age) => non_neg_integer()}])`.

  Known are the built-in types that JSON has a form for, `String.t()`, the calendar types, literals (`:a | :b`, `1..10`),
  lists, maps, unions, and `Module.t()` of a struct with a schema. Raises `ArgumentError` while compiling otherwise.
  """
  defmacro type(typespec), do: Typespec.read!(typespec, __CALLER__)

  @doc """
  The JSON Schema of a type.

  Raises `ArgumentError` if it is no type, or holds a module without a schema.
  """
  @spec to_json(Type.notation()) :: map
  def to_json(type), do: type |> Type.read!() |> Writer.write()

  @doc """
  The Elixir value that JSON data stands for, by its type.

  The error names the first place that does not fit, from the outside in, and what was expected there. Raises
  `ArgumentError` if `type` is none.
  """
  @spec cast(Type.notation(), term) :: {:ok, term} | {:error, Caster.fault()}
  def cast(type, json), do: type |> Type.read!() |> Caster.cast(json)

  @doc "Whether a module declares a schema."
  @spec schema?(module) :: boolean
  def schema?(module) do
    Code.ensure_loaded?(module) and function_exported?(module, :__axon_port_schema__, 1)
  end

  @doc """
  The fields of a module with a schema.

  Raises `ArgumentError` if it has none.
  """
  @spec fields(module) :: [Field.t()]
  def fields(module) do
    if schema?(module) do
      module.__axon_port_schema__(:fields)
    else
      raise ArgumentError, "#{inspect(module)} has no schema: it does not `use AxonPort.Schema`"
    end
  end

  @doc "What the model is told about a module with a schema."
  @spec description(module) :: String.t() | nil
  def description(module), do: module.__axon_port_schema__(:description)

  @doc false
  @spec declared([Field.t()], {integer, String.t()} | String.t() | false | nil) :: map
  def declared(fields, moduledoc) do
    %{fields: Enum.reverse(fields), description: first_paragraph(moduledoc)}
  end

  @doc false
  @spec enforced([Field.t()]) :: [atom]
  def enforced(fields), do: for(%Field{presence: :required, name: name} <- fields, do: name)

  @doc false
  @spec defaults([Field.t()]) :: keyword
  def defaults(fields), do: Enum.map(fields, &{&1.name, default(&1)})

  defp default(%Field{presence: {:default, value}}), do: value
  defp default(%Field{}), do: nil

  defp first_paragraph({_line, doc}), do: first_paragraph(doc)

  defp first_paragraph(doc) when is_binary(doc) do
    doc |> String.split("\n\n", parts: 2) |> hd() |> String.split() |> Enum.join(" ")
  end

  defp first_paragraph(_none), do: nil
end
