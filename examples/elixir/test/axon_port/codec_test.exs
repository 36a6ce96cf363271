defmodule AxonPort.CodecTest do
  use ExUnit.Case, async: true

  alias AxonPort.{Codec, Command, Error, Random}

  for codec <- Codec.available() do
    @codec codec

    test "#{inspect(codec)} brings back whatever there is" do
      for seed <- 1..300 do
        term = Random.json(seed)
        {:ok, text} = Codec.encode(term, @codec)
        assert Codec.decode(text, @codec) == {:ok, term}, "seed #{seed}"
      end
    end

    test "#{inspect(codec)} refuses in one way what is no JSON" do
      for text <- ["", "{", "[1,]", "nul", "\"\xff\"", "{}x", "\"\\x\"", "01", <<0, 1, 2>>] do
        assert {:error, %Error{reason: :undecodable}} = Codec.decode(text, @codec), inspect(text)
      end
    end

    test "#{inspect(codec)} keeps nothing of a frame alive but what is kept of its value" do
      {:ok, text} = Codec.encode(%{"id" => "short", "longer" => String.duplicate("b", 100)}, @codec)
      frame = text <> String.duplicate(" ", 100_000)
      {:ok, %{"id" => id, "longer" => longer} = value} = Codec.decode(frame, @codec)
      for kept <- [id, longer | Map.keys(value)], do: assert(:binary.referenced_byte_size(kept) <= 200)
    end

    test "#{inspect(codec)} never fails in another way, whatever the bytes" do
      for seed <- 1..300 do
        {:ok, text} = seed |> Random.json() |> Codec.encode(@codec)
        outcome = text |> Random.damaged(seed) |> Codec.decode(@codec)

        assert match?({:ok, _term}, outcome) or match?({:error, %Error{reason: :undecodable}}, outcome),
               "seed #{seed}"
      end
    end
  end

  test "what has no form in JSON is told, and not sent" do
    for term <- [self(), make_ref(), fn -> :ok end, <<255>>, %{a: [<<255>>]}, %{{1, 2} => 3}] do
      assert {:error, %Error{reason: :unencodable}} = Codec.encode(term)
    end

    assert_raise Error, fn -> Codec.encode!(self()) end
  end

  test "a command is its frame but for the id" do
    command = Command.new!("run", %{agent_id: "a", prompt: nil, deps: nil, timeout_ms: 5})
    frame = command |> Command.frame(-17) |> IO.iodata_to_binary()
    assert {:ok, decoded} = Codec.decode(frame)
    # Null is a value for deps, and as if absent for the others.
    assert decoded == %{"id" => -17, "type" => "run", "agent_id" => "a", "deps" => nil, "timeout_ms" => 5}
    assert byte_size(frame) <= Command.size(command)
  end

  test "a command that no worker reads is not sent: it could not even say whose it was" do
    nested = fn levels -> Enum.reduce(1..levels, 1, fn _, value -> [value] end) end
    assert {:ok, %Command{}} = Command.new("run", deps: nested.(199))
    assert {:error, %Error{reason: :unencodable, message: message}} = Command.new("run", deps: nested.(200))
    assert message =~ "200 levels"
    in_maps = Enum.reduce(1..200, 1, fn _, value -> %{a: value} end)
    assert {:error, %Error{reason: :unencodable}} = Command.new("run", deps: in_maps)
    assert {:error, %Error{message: message}} = Command.new("run", deps: List.duplicate([], 4_194_304))
    assert message =~ "arrays, objects and keys"
  end

  test "a command that is inspected shows nothing of what it says" do
    assert inspect(Command.new!("run", prompt: "private")) =~ "run"
    refute inspect(Command.new!("run", prompt: "private")) =~ "private"
  end

  test "what a command says of its size holds for the longest id, and with a limit" do
    command = Command.new!("ping")
    assert command |> Command.frame(-(2 ** 63)) |> IO.iodata_length() == Command.size(command)
    assert command |> Command.frame(-(2 ** 63), 50) |> IO.iodata_length() == Command.size(command, 50)
    {:ok, decoded} = command |> Command.frame(7, 50) |> IO.iodata_to_binary() |> Codec.decode()
    assert decoded == %{"type" => "ping", "id" => 7, "timeout_ms" => 50}
  end
end
