defmodule AxonPort.SchemaTest do
  use ExUnit.Case, async: true

  import AxonPort.Schema, only: [type: 1, optional: 1]

  alias AxonPort.{Plain, Schema}
  alias AxonPort.Schema.Typespec

  defmodule Line do
    @moduledoc false
    use AxonPort.Schema

    schema do
      field :article, :string, description: "The article's name."
      field :count, :integer, minimum: 1, default: 1
    end
  end

  defmodule Order do
    @moduledoc """
    An order of
    the shop.

    Not for the model.
    """
    use AxonPort.Schema

    schema do
      field :number, :integer
      field :state, {:enum, [:open, :shipped]}
      field :lines, [Line], min_items: 1
      field :due, Date, optional: true
    end
  end

  defmodule Tree do
    @moduledoc false
    use AxonPort.Schema

    schema do
      field :value, {:nullable, :integer}
      field :children, [__MODULE__], default: []
    end
  end

  describe "a struct with a schema" do
    test "has required fields that are enforced, defaults, and nil where it may be left out" do
      assert_raise ArgumentError, ~r/number/, fn -> struct!(Order, state: :open, lines: []) end

      assert struct!(Line, article: "pen") == %Line{article: "pen", count: 1}
      assert struct!(Order, number: 1, state: :open, lines: []).due == nil
    end

    test "is a closed object, and says what the module's first paragraph says" do
      assert Schema.to_json(Order) == %{
               "type" => "object",
               "description" => "An order of the shop.",
               "additionalProperties" => false,
               "required" => ["number", "state", "lines"],
               "properties" => %{
                 "number" => %{"type" => "integer"},
                 "state" => %{"enum" => ["open", "shipped"]},
                 "lines" => %{
                   "type" => "array",
                   "items" => %{"$ref" => "#/$defs/AxonPort.SchemaTest.Line"},
                   "minItems" => 1
                 },
                 "due" => %{"type" => "string", "format" => "date"}
               },
               "$defs" => %{
                 "AxonPort.SchemaTest.Line" => %{
                   "type" => "object",
                   "additionalProperties" => false,
                   "required" => ["article"],
                   "properties" => %{
                     "article" => %{"type" => "string", "description" => "The article's name."},
                     "count" => %{"type" => "integer", "minimum" => 1, "default" => 1}
                   }
                 }
               }
             }
    end

    test "may hold itself: at the root it refers to the root, further in to its definition" do
      assert %{"properties" => %{"children" => %{"items" => %{"$ref" => "#"}}}} = Schema.to_json(Tree)

      assert %{"items" => %{"$ref" => reference}, "$defs" => defs} = Schema.to_json([Tree])
      assert reference == "#/$defs/AxonPort.SchemaTest.Tree"
      assert defs["AxonPort.SchemaTest.Tree"]["properties"]["children"]["items"] == %{"$ref" => reference}
    end

    test "is what JSON data is cast to, structs inside included" do
      json = %{
        "number" => 17,
        "state" => "shipped",
        "lines" => [%{"article" => "pen", "count" => 3}, %{"article" => "ink"}],
        "due" => "2026-11-20"
      }

      assert {:ok, order} = Schema.cast(Order, json)

      assert order == %Order{
               number: 17,
               state: :shipped,
               lines: [%Line{article: "pen", count: 3}, %Line{article: "ink", count: 1}],
               due: ~D[2026-11-20]
             }

      assert Schema.cast(Order, Plain.from!(order)) == {:ok, order}
    end

    test "comes back from its plain form without what was left out" do
      order = %Order{number: 1, state: :open, lines: []}
      refute Map.has_key?(Plain.from!(order), "due")
      assert Schema.cast(Order, Plain.from!(order)) == {:ok, order}
    end

    test "is cast all the way down" do
      leaf = %{"value" => 2}
      assert {:ok, tree} = Schema.cast(Tree, %{"value" => nil, "children" => [leaf]})
      assert tree == %Tree{value: nil, children: [%Tree{value: 2, children: []}]}
    end

    test "has a type t that says what its fields hold" do
      defmodule Typed do
        @moduledoc false
        use AxonPort.Schema

        schema do
          field :name, :string
          field :tags, {:map, [:float]}
          field :state, {:enum, [:open, :shipped]}
          field :pair, {:tuple, [:integer, Date]}, optional: true
          field :more, %{optional(:note) => :any, line: Line}
        end
      end

      text = Typed |> Typespec.struct_type(Schema.fields(Typed)) |> Macro.to_string()

      for spec <- [
            "name: String.t()",
            "tags: %{String.t() => [float()]}",
            "state: :open | :shipped",
            "pair: {integer(), Date.t()} | nil",
            "optional(:note) => term",
            "line => AxonPort.SchemaTest.Line.t()"
          ] do
        assert text =~ spec
      end
    end
  end

  describe "to_json/1" do
    for {type, schema} <- [
          {:string, %{"type" => "string"}},
          {:float, %{"type" => "number"}},
          {nil, %{"type" => "null"}},
          {:any, %{}},
          {:map, %{"type" => "object"}},
          {DateTime, %{"type" => "string", "format" => "date-time"}},
          {[:integer], %{"type" => "array", "items" => %{"type" => "integer"}}},
          {{:map, :boolean}, %{"type" => "object", "additionalProperties" => %{"type" => "boolean"}}},
          {{:nullable, :string}, %{"anyOf" => [%{"type" => "string"}, %{"type" => "null"}]}},
          {{:union, [:string, :list]}, %{"anyOf" => [%{"type" => "string"}, %{"type" => "array"}]}},
          {{:enum, [:a, "b", 3, nil, true]}, %{"enum" => ["a", "b", 3, nil, true]}},
          {{:tuple, [:string, :number]},
           %{
             "type" => "array",
             "prefixItems" => [%{"type" => "string"}, %{"type" => "number"}],
             "items" => false,
             "minItems" => 2
           }},
          {{:string, min_length: 1, pattern: "^a"},
           %{"type" => "string", "minLength" => 1, "pattern" => "^a"}},
          {%{:city => :string, {:optional, :days} => :integer},
           %{
             "type" => "object",
             "properties" => %{"city" => %{"type" => "string"}, "days" => %{"type" => "integer"}},
             "required" => ["city"],
             "additionalProperties" => false
           }},
          {%{}, %{"type" => "object", "properties" => %{}, "additionalProperties" => false}},
          {%{"type" => "object"}, %{"type" => "object"}},
          {{{:json_schema, true}, description: "anything"}, %{"description" => "anything"}},
          {{:json_schema, false}, %{"not" => %{}}}
        ] do
      test "writes #{inspect(type)}" do
        assert Schema.to_json(unquote(Macro.escape(type))) == unquote(Macro.escape(schema))
      end
    end

    test "takes a pattern's source from a regex" do
      assert Schema.to_json({:string, pattern: ~r/^\d+$/}) == %{"type" => "string", "pattern" => "^\\d+$"}
    end

    for nonsense <- [
          :strin,
          "string",
          [],
          [:string, :integer],
          {:enum, []},
          {:enum, [{1}]},
          %{1 => :string},
          7
        ] do
      test "raises on #{inspect(nonsense)}" do
        assert_raise ArgumentError, fn -> Schema.to_json(unquote(Macro.escape(nonsense))) end
      end
    end

    test "raises on an annotation that JSON Schema does not have, and names those it has" do
      assert_raise ArgumentError, ~r/:minimum/, fn -> Schema.to_json({:integer, minimun: 1}) end
    end

    test "raises on a module without a schema" do
      assert_raise ArgumentError, ~r/AxonPort.Schema/, fn -> Schema.to_json(%{of: URI}) end
    end
  end

  describe "cast/2" do
    for {type, json, value} <- [
          {:integer, 3.0, 3},
          {:float, 3, 3.0},
          {:number, 3, 3},
          {nil, nil, nil},
          {:any, %{"a" => 1}, %{"a" => 1}},
          {{:enum, [:a, "b", nil]}, "a", :a},
          {{:enum, [:a, "b", nil]}, nil, nil},
          {{:tuple, [:string, [:integer]]}, ["x", [1]], {"x", [1]}},
          {{:map, {:enum, [:on]}}, %{"lamp" => "on"}, %{"lamp" => :on}},
          {{:union, [:integer, Time, :string]}, "12:00:00", ~T[12:00:00]},
          {{:union, [:integer, Time, :string]}, "noon", "noon"},
          {DateTime, "2026-11-20T10:00:00+01:00", ~U[2026-11-20 09:00:00Z]},
          {NaiveDateTime, "2026-11-20T10:00:00", ~N[2026-11-20 10:00:00]},
          {%{:city => :string, {:optional, :days} => :integer}, %{"city" => "Riga"}, %{city: "Riga"}},
          {%{"type" => "object"}, %{"city" => "Riga"}, %{"city" => "Riga"}}
        ] do
      test "makes #{inspect(value)} of #{inspect(json)} as #{inspect(type)}" do
        assert Schema.cast(unquote(Macro.escape(type)), unquote(Macro.escape(json))) ===
                 {:ok, unquote(Macro.escape(value))}
      end
    end

    for {type, json, path} <- [
          {:integer, 1.5, []},
          {:string, nil, []},
          {[:integer], [1, "2"], [1]},
          {%{a: %{b: [Date]}}, %{"a" => %{"b" => ["2026-11-20", "soon"]}}, ["a", "b", 1]},
          {%{a: :string}, %{}, ["a"]},
          {%{a: :string}, %{"a" => "x", "b" => 1}, ["b"]},
          {{:map, :integer}, %{"k" => "v"}, ["k"]},
          {{:tuple, [:integer, :integer]}, [1], []},
          {{:tuple, [:integer, :integer]}, [1, "2"], [1]},
          {{:enum, [:a]}, "b", []},
          {{:union, [:integer, nil]}, "b", []},
          {DateTime, "2026-11-20", []},
          {Date, 7, []},
          {[:any], %{}, []},
          {Line, [], []}
        ] do
      test "finds the fault of #{inspect(json)} as #{inspect(type)}" do
        assert {:error, {unquote(path), expected}} =
                 Schema.cast(unquote(Macro.escape(type)), unquote(Macro.escape(json)))

        assert is_binary(expected)
      end
    end

    test "makes no float of an integer that is beyond every float" do
      assert Schema.cast(:float, 2 ** 1023) == {:ok, :math.pow(2, 1023)}
      assert {:error, {[], "of type float"}} = Schema.cast(:float, -(10 ** 400))
    end

    test "makes no atom of a text that the model wrote" do
      text = "an atom that nobody has made #{System.unique_integer()}"
      assert {:error, _fault} = Schema.cast({:enum, [:a]}, text)
      assert {:error, _fault} = Schema.cast(%{a: :any}, %{text => 1})
      assert_raise ArgumentError, fn -> String.to_existing_atom(text) end
    end
  end

  describe "type/1" do
    test "reads typespecs" do
      assert type(String.t()) == :string
      assert type([integer()]) == [:integer]
      assert type(nonempty_list(float())) == {[:float], [min_items: 1]}
      assert type(1..10) == {:integer, minimum: 1, maximum: 10}
      assert type(:open | :shipped) == {:enum, [:open, :shipped]}
      assert type(String.t() | nil) == {:nullable, :string}
      assert type(Date.t() | integer()) == {:union, [Date, :integer]}
      assert type({String.t(), number()}) == {:tuple, [:string, :number]}
      assert type(Line.t()) == Line

      assert type(%{:city => String.t(), optional(:days) => pos_integer(), required(:on) => Date.t()}) ==
               %{:city => :string, optional(:days) => {:integer, minimum: 1}, {:required, :on} => Date}
    end

    test "refuses what JSON has no form for, while compiling" do
      for spec <- ["pid()", "(integer() -> integer())", "%{integer() => String.t()}"] do
        assert_raise ArgumentError, fn -> Code.eval_string("import AxonPort.Schema; type(#{spec})") end
      end
    end
  end
end
